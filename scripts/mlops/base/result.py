"""What a command has to say once it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops.base.errors import EXIT_OK


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a stage: lines for people, `data` for `--json`.

    Attributes:
        summary: One line, or a few, that a person reads first.
        data: Everything a machine may want; JSON types only.
        next_steps: The exact commands or clicks that come next.
        exit_code: 0, or the code of an error that is a result rather than a crash (a failed gate).
    """

    summary: str
    data: Mapping[str, Any] = field(default_factory=dict)
    next_steps: tuple[str, ...] = ()
    exit_code: int = EXIT_OK
