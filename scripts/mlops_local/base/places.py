"""What differs between two stacks with the same account: addresses, and the folder of the stack.

A text that is kept for another stack has a mark in the place of each of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

AWS, GITLAB, AIRFLOW, HOME = "<stack:aws>", "<stack:gitlab>", "<stack:airflow>", "<stack:home>"


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the parts of one stack are. Addresses have no scheme: `127.0.0.1:4566`."""

    aws: str
    home: str
    gitlab: str = ""
    airflow: str = ""

    @classmethod
    def of(cls, home: Path, *, aws_port: int, gitlab_port: int, airflow_port: int) -> Places:
        """Those of a stack whose parts listen on the loopback interface."""
        aws, gitlab, airflow = (f"127.0.0.1:{port}" for port in (aws_port, gitlab_port, airflow_port))
        return cls(aws=aws, home=str(home), gitlab=gitlab, airflow=airflow)

    def mark(self, text: str) -> str:
        """The text with a mark for each place; the very same object where it names none."""
        return self._pattern.sub(lambda found: self._marks[found[0]], text) if self.named(text) else text

    def fill(self, text: str) -> str:
        """The text of `mark`, with the places of this stack."""
        for place, mark in self._marks.items():
            text = text.replace(mark, place)
        return text

    def named(self, text: str) -> bool:
        """Whether a text names one of the places."""
        return self._pattern.search(text) is not None

    @cached_property
    def _marks(self) -> dict[str, str]:
        found = {self.aws: AWS, self.gitlab: GITLAB, self.airflow: AIRFLOW, self.home: HOME}
        return {place: mark for place, mark in found.items() if place}

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        # port 4566 is not in port 45661, nor the folder `dev` in `dev-2`
        return re.compile(f"(?:{'|'.join(map(re.escape, self._marks))})(?![\\w.-])")
