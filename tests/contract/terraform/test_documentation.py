"""The tables of every README are those of the module's variables and outputs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TERRAFORM = Path(__file__).parents[3] / "terraform"
FOLDERS = sorted([TERRAFORM / "root", *(TERRAFORM / "modules").iterdir()])
_BLOCK = re.compile(r'^(?:variable|output) "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)


def tables(folder: Path) -> str:
    """What a README's tables must be."""
    inputs = [
        f"| `{name}` | `{_value(body, 'type').removesuffix('({')}` | {_default(body)} | {_description(body)} |"
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


def _blocks(file: Path) -> Iterator[tuple[str, str]]:
    for match in _BLOCK.finditer(file.read_text(encoding="utf-8")):
        yield match[1], match[2]


def _value(body: str, key: str) -> str:
    """The value of a key at the block's first level; files are formatted, so two spaces tell it."""
    match = re.search(rf"^  {key}\s+= (.*)$", body, re.MULTILINE)
    return match[1] if match else ""


def _default(body: str) -> str:
    value = _value(body, "default")
    return f"`{value}`" if value else "required"


def _description(body: str) -> str:
    return _value(body, "description").strip('"')


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_tables_are_current(folder: Path) -> None:
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert tables(folder) in readme, f"{folder.name}/README.md must hold:\n\n{tables(folder)}\n"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_folder_is_listed(folder: Path) -> None:
    readme = (TERRAFORM / "README.md").read_text(encoding="utf-8")
    assert f"]({folder.relative_to(TERRAFORM)}/README.md)" in readme
