"""Style and types, beside the other tests: the targets that `make lint` consists of."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
TARGETS = ("style", "types", "pylint", "imports")
# Other tests run from these environments meanwhile: `make setup` renews them, a test does not.
KEPT = ("--old-file=.venv/.ready", "--old-file=.venv-airflow/.ready")


@pytest.mark.parametrize("target", TARGETS)
def test_it_finds_nothing(target: str) -> None:
    # A make above this one has opened files that this one does not inherit.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }
    done = subprocess.run(
        ["make", "--no-print-directory", *KEPT, target],
        cwd=CHECKOUT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_make_lint_is_all_of_it() -> None:
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")

    assert f"\nlint: {' '.join(TARGETS)} ##" in makefile
