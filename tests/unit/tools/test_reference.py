"""The generated parts of the reference pages are what the code says now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mlops.manifest import schema
from mlops.manifest.schema import Section
from tools.reference import manifest
from tools.reference.__main__ import pages
from tools.reference.markdown import renewed, sentence, table

CHECKOUT = Path(__file__).parents[3]
PAGES = pages(CHECKOUT)


@pytest.mark.parametrize("page", sorted(PAGES))
def test_the_page_is_current(page: str) -> None:
    text = (CHECKOUT / "docs" / page).read_text(encoding="utf-8")
    assert renewed(text, PAGES[page]) == text, "run: make reference"


def test_no_other_page_has_a_part_that_nothing_renews() -> None:
    marked = {
        str(file.relative_to(CHECKOUT / "docs"))
        for file in (CHECKOUT / "docs").rglob("*.md")
        if "<!-- generated:" in file.read_text(encoding="utf-8")
    }
    assert marked == set(PAGES)


def test_nothing_is_without_a_meaning() -> None:
    """Of commands, inputs, keys of the manifest and errors; a record's field may speak for itself."""
    spoken = [page for page in PAGES if page not in ("reference/records.md", "explain/architecture.md")]
    rows = [row for page in spoken for part in PAGES[page].values() for row in part.splitlines()]
    silent = [row for row in rows if re.fullmatch(r"\| `.*\| +\|", row) and "events" not in row]
    assert [row for row in silent if not row.startswith("| `aws.")] == []


def test_no_section_of_the_manifest_is_left_out() -> None:
    sections = {one for one in vars(schema).values() if isinstance(one, type) and issubclass(one, Section)}
    assert sections - set(manifest.SECTIONS.values()) == {Section, schema.ModelSection}


def test_a_part_that_the_page_lacks_is_named() -> None:
    with pytest.raises(ValueError, match="has the parts \\[\\], the code makes \\['it'\\]"):
        renewed("# Page\n", {"it": "text"})


def test_a_part_is_renewed_between_its_marks() -> None:
    page = "before\n<!-- generated: it -->\nold\n<!-- end of it -->\nafter\n"
    assert renewed(page, {"it": "new\\1\n"}) == (
        "before\n<!-- generated: it -->\n\nnew\\1\n\n<!-- end of it -->\nafter\n"
    )


def test_a_cell_may_hold_what_divides_cells() -> None:
    assert table(("a", "b"), [("x | y", "")]) == "| a | b |\n|---|---|\n| x \\| y | |\n"
    assert sentence("One\nline.\n\nMore.") == "One line"
