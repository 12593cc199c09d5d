"""Tables in Markdown, and the marks in a page between which they stand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

_PART = re.compile(r"<!-- generated: (?P<name>\S+) -->\n.*?<!-- end of (?P=name) -->\n", re.DOTALL)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a vertical bar within a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("|" + "|".join(_cell(cell) for cell in line) + "|\n" for line in lines)


def code(text: str) -> str:
    """Return a text as code; nothing for an empty one."""
    return f"`{text}`" if text else ""


def sentence(text: str) -> str:
    """Return the first paragraph of a docstring on one line, without its full stop."""
    return " ".join(text.strip().partition("\n\n")[0].split()).removesuffix(".")


def renewed(page: str, parts: Mapping[str, str]) -> str:
    """Return the page with each of its generated parts written anew.

    Raises:
        ValueError: when the page has other parts than are given.
    """
    marked = [match["name"] for match in _PART.finditer(page)]
    if sorted(marked) != sorted(parts):
        raise ValueError(f"the page has the parts {sorted(marked)}, the code makes {sorted(parts)}")

    def write(match: re.Match[str]) -> str:
        name = match["name"]
        return f"<!-- generated: {name} -->\n\n{parts[name].strip()}\n\n<!-- end of {name} -->\n"

    return _PART.sub(write, page)


def _cell(text: str) -> str:
    if text == "---":
        return text
    escaped = text.replace("|", "\\|")
    return f" {escaped} " if escaped else " "
