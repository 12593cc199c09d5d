"""Tests that share a stack run in one process, whichever pytest and xdist are locked; and a run says what it cost."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


FILES = [
    "tests/unit/contracts/test_versions.py",
    "tests/unit/ci/test_dotenv.py",
    "tests/unit/clients/test_role_refusal.py",
]


@pytest.fixture(scope="module")
def whole_run() -> str:
    """What pytest prints when two processes run a few files."""
    options = ["--numprocesses", "2", "--verbose", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *FILES],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def test_the_tests_of_a_file_run_in_one_process(whole_run: str) -> None:
    seen = set(re.findall(r"^\[(gw\d)\].* (tests/\S+?)::", whole_run, re.MULTILINE))

    assert sorted(file for _, file in seen) == sorted(FILES)
    assert len({process for process, _ in seen}) == 2


def test_a_run_says_what_its_folders_cost(whole_run: str) -> None:
    table = whole_run[whole_run.index("wall and CPU seconds by folder") :]
    (tests, wall, cpu), (all_tests, *_) = (
        re.search(rf"^{row} +(\d+) +(\d+) +(\d+)$", table, re.MULTILINE).groups()  # type: ignore[union-attr]
        for row in ("tests/unit", "the run")
    )

    assert int(tests) == int(all_tests) == len(re.findall(r"PASSED tests/", whole_run)) > 10
    assert int(wall) >= 0
    assert int(cpu) > 0  # two processes have imported pytest and the product
