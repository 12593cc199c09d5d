"""What a run of tests cost: who it is put down to, and the page that tells it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import cost, folders

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("nodeid", "folder"),
    [
        ("tests/unit/test_cli.py::test_it", "tests/unit"),
        ("tests/unit/deployment/test_approval.py::test_it[a/b]", "tests/unit"),
        ("tests/contract/test_sagemaker_requests.py::test_it", "tests/contract"),
        ("tests/contract/lambda/test_lambda_requests.py::test_it (call)", "tests/contract/lambda"),
        ("tests/local/aws/test_jobs.py::test_it", "tests/local/aws"),
        ("tests/e2e/test_demo.py::test_it", "tests/e2e"),
        ("", ""),
    ],
)
def test_a_test_belongs_to_a_folder(nodeid: str, folder: str) -> None:
    assert folders.of(nodeid) == folder


def test_the_page_has_every_folder_and_no_other() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "tests/**/test_*.py"], cwd=CHECKOUT, check=True, capture_output=True, text=True
    )
    names = [*map(folders.of, listed.stdout.split()), cost.UNKNOWN, "the run"]
    measured = dict.fromkeys(names, cost.Cost(1, 2.4, 3.6))
    page = cost.renewed(cost.PAGE.read_text(encoding="utf-8"), measured)

    assert page.count(" | 1 | 4 | 2 |\n") == len(measured) > 10


def test_a_folder_that_the_page_lacks_is_named() -> None:
    with pytest.raises(ValueError, match="alone: tests/new"):
        cost.renewed("| the run | | 0 | 0 | 0 |\n", {"the run": cost.Cost(), "tests/new": cost.Cost()})
