"""The changelog: what is unreleased, and how it becomes a release."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from semver import Version

from mlops.base.errors import ReleaseError
from mlops.releasing import changelog

DAY = date(2026, 11, 21)
TEXT = """\
# Changelog

All notable changes.

## Unreleased

### Added

- An input.

## 1.0.0 - 2026-01-02

### Fixed

- A hole.
"""


def test_what_is_not_released_yet() -> None:
    assert changelog.unreleased(TEXT) == "### Added\n\n- An input."


@pytest.mark.parametrize("body", ["", "\n", "\n### Added\n\n### Fixed\n", "\n   \n"])
def test_headings_alone_say_nothing(body: str) -> None:
    assert changelog.unreleased(f"# Changelog\n\n## Unreleased\n{body}\n## 1.0.0\n\n- A\n") == ""


def test_a_release_takes_what_was_unreleased() -> None:
    after = changelog.cut(TEXT, Version(1, 1, 0), DAY)

    assert after == TEXT.replace("## Unreleased\n", "## Unreleased\n\n## 1.1.0 - 2026-11-21\n")
    assert changelog.unreleased(after) == ""
    assert changelog.notes(after, Version(1, 1, 0)) == "### Added\n\n- An input."
    assert changelog.notes(after, Version(1, 0, 0)) == "### Fixed\n\n- A hole."


def test_one_version_is_not_taken_for_another() -> None:
    after = changelog.cut(TEXT, Version(11, 0, 0), DAY)

    assert changelog.notes(after, Version(1, 1, 0)) == ""
    assert changelog.notes("## 1x0x0\n\n- A\n", Version(1, 0, 0)) == ""


@pytest.mark.parametrize(
    ("text", "count"),
    [("# Changelog\n", 0), ("## unreleased\n", 0), (f"{TEXT}\n## Unreleased\n", 2), ("", 0)],
)
def test_exactly_one_section_is_unreleased(text: str, count: int) -> None:
    with pytest.raises(ReleaseError, match=f"has {count} sections Unreleased"):
        changelog.unreleased(text)
    with pytest.raises(ReleaseError, match=f"has {count} sections Unreleased"):
        changelog.cut(text, Version(2), DAY)


def test_a_version_has_one_section() -> None:
    with pytest.raises(ReleaseError, match="has a section") as caught:
        changelog.cut(TEXT, Version(1), DAY)
    assert "Move its lines to Unreleased" in caught.value.next_step


LINES = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="#\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"))
)


@given(lines=LINES, version=st.builds(Version, *[st.integers(0, 99)] * 3))
def test_no_word_of_it_is_lost(lines: list[str], version: Version) -> None:
    body = "\n".join(f"- {line}" for line in lines)
    text = f"# Changelog\n\n## Unreleased\n\n{body}\n\n## old\n\n- A\n"
    after = changelog.cut(text, version, DAY)

    assert changelog.notes(after, version) == changelog.unreleased(text)
    assert after.endswith("## old\n\n- A\n")
