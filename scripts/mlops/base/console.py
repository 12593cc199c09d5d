"""The one place that writes to a person: progress on standard error, results on standard output.

In a GitLab job, sections fold: https://docs.gitlab.com/ci/jobs/job_logs/#create-custom-collapsible-sections
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mlops.base.documents import with_addresses
from mlops.base.errors import MlopsError

TYPE_CHECKING = False  # typing itself would be a third of the time of `mlops --help`
if TYPE_CHECKING:
    from mlops.base.result import Outcome


# Control characters drive a terminal, and these of Unicode turn what follows around: a name or a log of
# another person could hide what a message says (CVE-2021-42574). Half of a character cannot be printed.
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""A text with its unseen characters written out, such as `\u202e`; lines and tabs stay."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text.replace("\r\n", "\n"))


def say(line: str) -> None:
    """One line of progress."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def warn(line: str) -> None:
    """One line that a person should not miss."""
    say(f"! {visible(line)}")


@contextmanager
def section(title: str) -> Iterator[None]:
    """Everything said inside folds under `title` in a GitLab job log, with its duration."""
    started = time.monotonic()
    name = re.sub(r"[^a-z0-9_]+", "_", title.lower()).strip("_")
    folds = "GITLAB_CI" in os.environ
    if folds:
        say(f"\x1b[0Ksection_start:{int(time.time())}:{name}[collapsed=true]\r\x1b[0K{title}")
    else:
        say(f"- {title}")
    try:
        yield
    finally:
        if folds:
            say(f"\x1b[0Ksection_end:{int(time.time())}:{name}\r\x1b[0K")
        say(f"  {title}: {time.monotonic() - started:.1f} s")


def show_error(error: MlopsError) -> None:
    """An error a person can act on, without a traceback."""
    first, *rest = (with_addresses(visible(line)) for line in error.lines())
    say(f"✗ {first}")
    for line in rest:
        say(line.replace("\n", "\n       "))


def show_outcome(outcome: Outcome, *, as_json: bool) -> None:
    """The result: one JSON document for machines, or the summary and what comes next for people."""
    if as_json:
        import json

        print(json.dumps(outcome.data, indent=2, sort_keys=True, default=str))  # noqa: T201
        return
    print(visible(outcome.summary))  # noqa: T201
    for step in outcome.next_steps:
        print(f"  next: {visible(step)}")  # noqa: T201
