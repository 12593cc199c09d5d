"""A page is found where the reader is: from a job's log, and in a checkout."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mlops import cli
from mlops.base import console
from mlops.base.documents import address, with_addresses
from mlops.base.errors import UsageError

CHECKOUT = Path(__file__).parents[3]
PAGE = "docs/reference/exit-codes.md"
SOURCE, REVISION = "https://gitlab.example.com/platform/ml-ops", "4" * 40


@pytest.fixture(name="image")
def run_in_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a job's image."""
    monkeypatch.setenv("MLOPS_SOURCE", SOURCE)
    monkeypatch.setenv("MLOPS_REVISION", REVISION)


@pytest.mark.usefixtures("image")
def test_the_list_of_commands_ends_with_the_documents(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])

    assert capsys.readouterr().out.endswith(f"\nDocuments: {SOURCE}/-/blob/{REVISION}/docs/index.md\n")


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: command.name)
def test_help_in_a_job_ends_with_the_page_of_its_commit(
    command: cli.Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main([command.name, "--help"])

    assert capsys.readouterr().out.endswith(f"Exit codes: {SOURCE}/-/blob/{REVISION}/{PAGE}\n")


def test_help_in_a_checkout_ends_with_a_file_that_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])

    named = capsys.readouterr().out.splitlines()[-1].removeprefix("Exit codes: ")
    assert Path(named) == CHECKOUT / PAGE
    assert Path(named).is_file()


def test_without_either_the_page_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops.base.documents._CHECKOUT", "/usr/lib/python3")
    assert address(PAGE) == f"{PAGE} in the repository of ml-ops"
    # What a build without --build-arg leaves.
    monkeypatch.setenv("MLOPS_SOURCE", "unknown")
    monkeypatch.setenv("MLOPS_REVISION", "unknown")
    assert address(PAGE) == f"{PAGE} in the repository of ml-ops"


@pytest.mark.usefixtures("image")
def test_an_error_in_a_job_leads_to_the_page_it_names(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_error(UsageError("It broke", next_step="See docs/operate/permissions.md, or docs/guides."))

    said = capsys.readouterr().err
    assert f"next: See {SOURCE}/-/blob/{REVISION}/docs/operate/permissions.md, or docs/guides.\n" in said


def test_an_address_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch, image: None) -> None:
    del image
    text = "https://docs.example.com/docs/a.md and ./docs/b.md"
    assert with_addresses(text) == text
    monkeypatch.delenv("MLOPS_SOURCE")
    assert with_addresses("docs/b.md") == "docs/b.md"


def test_the_image_knows_what_it_was_built_from() -> None:
    text = (CHECKOUT / "Dockerfile").read_text(encoding="utf-8")
    final = text.rpartition("\nFROM ")[2]
    for name in ("SOURCE", "REVISION"):
        assert re.search(rf"^ARG {name}=", final, re.MULTILINE)
        assert re.search(rf'\bMLOPS_{name}="\$\{{{name}\}}"', final)
