"""CHANGELOG.md: the section of what is not released yet, and how it becomes a release. Pure functions.

The format is https://keepachangelog.com/en/1.1.0/.
"""

from __future__ import annotations

import re
from datetime import date

from semver import Version

from mlops.base.errors import ReleaseError

_UNRELEASED = re.compile(r"^## Unreleased[ \t]*\n", re.MULTILINE)
_SECTION = re.compile(r"^## ", re.MULTILINE)


def unreleased(text: str) -> str:
    """What the section Unreleased says; empty when there are only headings in it.

    Raises:
        ReleaseError: when there is no such section, or more than one.
    """
    body = _body(text, _heading(text))
    said = [line for line in body.splitlines() if line.strip() and not line.startswith("#")]
    return body if said else ""


def cut(text: str, version: Version, day: date) -> str:
    """The changelog after a release: its section, and an empty Unreleased above it.

    Raises:
        ReleaseError: when there is no section Unreleased, or the version has one already.
    """
    if re.search(rf"^## {re.escape(str(version))}(\s|$)", text, re.MULTILINE):
        raise ReleaseError(
            f"CHANGELOG.md has a section {version} already",
            cause="sections of releases are made by the release itself",
            next_step="Move its lines to Unreleased and remove its heading.",
        )
    heading = _heading(text)
    rest = text[heading.end() :].lstrip("\n")
    return f"{text[: heading.start()]}## Unreleased\n\n## {version} - {day.isoformat()}\n\n{rest}"


def notes(text: str, version: Version) -> str:
    """What the section of a release says; empty when there is none."""
    heading = re.search(rf"^## {re.escape(str(version))}( - .*)?[ \t]*\n", text, re.MULTILINE)
    return _body(text, heading) if heading else ""


def _heading(text: str) -> re.Match[str]:
    found = list(_UNRELEASED.finditer(text if text.endswith("\n") else f"{text}\n"))
    if len(found) != 1:
        raise ReleaseError(
            f"CHANGELOG.md has {len(found)} sections Unreleased",
            cause="a release takes its notes from exactly one",
            next_step="Have one line `## Unreleased` above the newest release.",
        )
    return found[0]


def _body(text: str, heading: re.Match[str]) -> str:
    following = _SECTION.search(text, heading.end())
    return text[heading.end() : following.start() if following else len(text)].strip("\n")
