"""What the documents say of the code by name is there: commands, variables, exit codes, records, kinds of problems."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import get_args

import pytest

from mlops.base import errors
from mlops.base.errors import MlopsError
from mlops.cli import COMMANDS
from mlops.contracts import evidence
from mlops.contracts.runs import ErrorKind
from mlops.releasing import commits
from mlops.training.retraining_rules import Reason
from mlops_local.arguments import add_arguments

CHECKOUT = Path(__file__).parents[2]
PAGES = {
    str(file.relative_to(CHECKOUT)): file.read_text(encoding="utf-8")
    for file in (CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", *(CHECKOUT / "docs").rglob("*.md"))
}


def section(page: str, heading: str) -> str:
    found = PAGES[page].partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert found
    return found


def first_cells(text: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)


def test_every_command_that_a_sentence_names_exists() -> None:
    named = [
        (page, name) for page, text in PAGES.items() for name in re.findall(r"`mlops ([a-z][a-z-]*)", text)
    ]
    assert len(named) > 50
    assert sorted(set(named) - {(page, one.name) for page in PAGES for one in COMMANDS}) == []


def test_every_variable_that_a_page_names_is_read_somewhere() -> None:
    folders = ("scripts", "ci-templates", "lambda_trigger", "dags", "tools", "tests", "terraform")
    files = [
        *(
            file
            for name in folders
            for file in (CHECKOUT / name).rglob("*")
            if file.suffix in (".py", ".yml", ".tf")
        ),
        CHECKOUT / ".gitlab-ci.yml",
        CHECKOUT / "mkdocs.yml",
    ]
    code = "".join(file.read_text(encoding="utf-8") for file in files)
    known = set(re.findall(r"MLOPS_[A-Z0-9_]+", code))
    known |= {f"MLOPS_UPSTREAM_{name}" for name in re.findall(r"\{PREFIX\}([A-Z_]+)", code)}
    named = {
        (page, name)
        for page, text in PAGES.items()
        for name in re.findall(r"MLOPS_[A-Z0-9_]*[A-Z0-9]\b", text)
    }
    assert len(named) > 30
    assert sorted(one for one in named if one[1] not in known) == []


def test_every_exit_code_that_a_symptom_has_is_one() -> None:
    known = {
        one.exit_code
        for one in vars(errors).values()
        if isinstance(one, type) and issubclass(one, MlopsError)
    }
    known |= {errors.EXIT_UNEXPECTED, errors.EXIT_INTERRUPTED, errors.EXIT_BROKEN_PIPE}
    rows = re.findall(
        r"^\| ([\d, to]+) \|", section("docs/operate/troubleshooting.md", "A job fails"), re.MULTILINE
    )
    codes = {int(number) for row in rows for number in re.findall(r"\d+", row)}
    assert len(codes) > 20
    assert sorted(codes - known) == []


def test_every_action_of_the_local_stack_is_named() -> None:
    rows = first_cells(section("docs/guides/local-stack.md", "Commands"))
    parser = ArgumentParser()
    add_arguments(parser)
    with pytest.raises(SystemExit), redirect_stderr(StringIO()) as said:
        parser.parse_args(["no-such-action"])
    actions = re.findall(r"'([a-z]+)'", said.getvalue().partition("choose from")[2])
    assert len(actions) > 6
    assert sorted(row.split()[2] for row in rows) == sorted(actions)


def test_every_reason_to_train_again_is_explained() -> None:
    rows = first_cells(section("docs/guides/retraining.md", "Rules"))
    assert rows == [reason for reason in get_args(Reason) if reason]


def test_the_rules_for_commit_messages_are_those_of_the_command() -> None:
    text = section("docs/contribute/release.md", "Commit messages")
    types = re.search(r"the type is (.+?) \|", text)
    assert types
    assert tuple(re.findall(r"`([a-z]+)`", types[1])) == commits.TYPES
    assert f"at most {commits.SUBJECT_LIMIT} characters" in text
    reasoned = re.search(r"^\| (`feat`.*?), and every breaking change", text, re.MULTILINE)
    assert reasoned
    assert tuple(re.findall(r"`([a-z]+)`", reasoned[1])) == commits.REASONED


def test_every_kind_of_problem_has_its_meaning() -> None:
    assert first_cells(section("docs/reference/contracts.md", "Run answer")) == list(get_args(ErrorKind))


def test_every_object_of_the_evidence_is_named() -> None:
    text = section("docs/reference/contracts.md", "Evidence")
    names = [value for name, value in vars(evidence).items() if name.isupper() and isinstance(value, str)]
    assert len(names) > 6
    assert [name for name in names if f"`{name}`" not in text] == []
