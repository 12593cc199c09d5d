from __future__ import annotations

import re
from pathlib import Path

import pytest

from mlops.base import errors
from mlops.base.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_UNEXPECTED, MlopsError

CLASSES = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, MlopsError)]
EXIT_CODES = Path(__file__).parents[3] / "docs" / "reference" / "exit-codes.md"


def test_every_error_has_an_exit_code_of_its_own() -> None:
    codes = [EXIT_OK, EXIT_UNEXPECTED, EXIT_INTERRUPTED, *(one.exit_code for one in CLASSES)]
    assert len(codes) == len(set(codes))


def test_exit_codes_survive_a_shell() -> None:
    # A shell reports 128 + signal, and 126 and 127 are its own.
    assert all(0 < one.exit_code < 126 for one in CLASSES)


@pytest.mark.parametrize("error", CLASSES, ids=lambda one: one.__name__)
def test_every_error_is_documented_with_its_code(error: type[MlopsError]) -> None:
    assert re.search(rf"\| {error.exit_code} \| `{error.__name__}` \|", EXIT_CODES.read_text())


def test_a_message_says_what_why_where_and_what_next() -> None:
    error = MlopsError(
        "It broke", cause="the disk is full", next_step="Delete something.", link="https://log"
    )
    assert error.lines() == [
        "It broke",
        "  why: the disk is full",
        "  log: https://log",
        "  next: Delete something.",
    ]


def test_a_message_leaves_out_what_is_not_known() -> None:
    assert str(MlopsError("It broke")) == "It broke"
