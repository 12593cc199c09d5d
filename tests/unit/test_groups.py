"""Tests that share a stack run in one process, whichever pytest and xdist are locked."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def test_the_tests_of_a_file_run_in_one_process() -> None:
    files = ["tests/unit/test_loopback.py", "tests/unit/test_dotenv.py", "tests/unit/test_role.py"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "--numprocesses",
            "2",
            "--verbose",
            "-p",
            "no:cacheprovider",
            *files,
        ],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
    )
    seen = set(re.findall(r"^\[(gw\d)\].* (tests/\S+?)::", done.stdout, re.MULTILINE))

    assert sorted(file for _, file in seen) == sorted(files)
    assert len({process for process, _ in seen}) == 2
