"""GitLab's words for a length of time: `3 days`, `2h20min`, `42` (seconds).

https://docs.gitlab.com/ci/yaml/#artifactsexpire_in
"""

from __future__ import annotations

import re
from datetime import timedelta

DEFAULT = "30 days"
"""How long GitLab keeps artifacts that say nothing of it."""

_PART = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[a-z]*)\s*(?:and\s+|,\s*)?")
_SECONDS = (
    (("", "s", "sec", "second"), 1),
    (("m", "min", "minute"), 60),
    (("h", "hr", "hour"), 3600),
    (("d", "day"), 86400),
    (("w", "wk", "week"), 7 * 86400),
    (("mo", "mos", "month"), 30 * 86400),
    (("y", "yr", "year"), 365.25 * 86400),
)


def duration(text: str) -> timedelta | None:
    """The length of time; None for `never`, and for what is none."""
    words = text.strip().lower()
    seconds, at = 0.0, 0
    while at < len(words):
        part = _PART.match(words, at)
        unit = next((size for names, size in _SECONDS if part and _is(part["unit"], names)), None)
        if part is None or unit is None:
            return None
        seconds += float(part["number"]) * unit
        at = part.end()
    return timedelta(seconds=seconds) if words else None


def _is(unit: str, names: tuple[str, ...]) -> bool:
    return unit in names or (len(unit) > 2 and unit.removesuffix("s") in names)
