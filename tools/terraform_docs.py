"""Writes the tables of inputs and outputs into the README of every Terraform folder: `make terraform-docs`.

It reads files as `terraform fmt` leaves them: two spaces begin a key of a block, a closing brace at a line's
begin ends it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

_BLOCK = re.compile(r'^(?:variable|output) "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)
# Both tables, up to the next chapter or the file's end.
_TABLES = re.compile(r"^## Inputs$.*?(?=^## (?!Outputs$)|\Z)", re.MULTILINE | re.DOTALL)
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def folders(terraform: Path) -> list[Path]:
    """Every folder below `terraform` that has variables: the roots and the modules."""
    candidates = [*terraform.iterdir(), *(terraform / "modules").iterdir()]
    return sorted(folder for folder in candidates if (folder / "variables.tf").is_file())


def tables(folder: Path) -> str:
    """What a README's tables must be."""
    inputs = [
        f"| `{name}` | `{_type(body)}` | {_default(body)} | {_description(body)} |"
        for name, body in _blocks(folder / "variables.tf")
    ]
    outputs = [f"| `{name}` | {_description(body)} |" for name, body in _blocks(folder / "outputs.tf")]
    return "\n".join(
        [
            "## Inputs",
            "",
            "| name | type | default | meaning |",
            "|---|---|---|---|",
            *inputs,
            "",
            "## Outputs",
            "",
            "| name | meaning |",
            "|---|---|",
            *outputs,
        ]
    )


def renewed(readme: str, folder: Path) -> str:
    """The README with the folder's current tables, where the old ones stood or else at its end."""
    text = tables(folder)
    if not _TABLES.search(readme):
        return f"{readme.rstrip()}\n\n{text}\n"
    # A function, because a replacement string would read backslashes.
    return _TABLES.sub(lambda _: f"{text}\n\n", readme).rstrip() + "\n"


def main(terraform: Path) -> None:
    """Renew every README below `terraform`; one that is missing gets a heading and the tables."""
    for folder in folders(terraform):
        file = folder / "README.md"
        old = file.read_text(encoding="utf-8") if file.exists() else f"# {folder.name}\n"
        new = renewed(old, folder)
        if new != old or not file.exists():
            file.write_text(new, encoding="utf-8")
            sys.stdout.write(f"{file}: tables renewed\n")


def _blocks(file: Path) -> Iterator[tuple[str, str]]:
    for match in _BLOCK.finditer(file.read_text(encoding="utf-8")):
        yield match[1], match[2]


def _value(body: str, key: str) -> str:
    """The first line of a key's value."""
    match = re.search(rf"^  {key}\s+= (.*)$", body, re.MULTILINE)
    return match[1] if match else ""


def _type(body: str) -> str:
    return _value(body, "type").removesuffix("({")


def _default(body: str) -> str:
    value = _value(body, "default")
    if not value:
        return "required"
    # one that goes on below its first line
    return f"`{value}…{_CLOSING[value]}`" if value in _CLOSING else f"`{value}`"


def _description(body: str) -> str:
    return (
        _value(body, "description")
        .removeprefix('"')
        .removesuffix('"')
        .replace('\\"', '"')
        .replace("|", "\\|")
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "terraform"))
