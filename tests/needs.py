"""What each folder of tests needs beyond this checkout's own Python: one table, by which tests are marked.

`pytest -m airflow` runs the tests of one need, `pytest -m "not (airflow or terraform or local or e2e)"` those that
`make .venv/.ready` alone is enough for. tests/contract/platform/test_pipeline.py holds our pipeline's jobs to this
table, and a test whose process starts a program that its folder does not name fails.

`docker` stands at single tests: a folder that has it here has such tests, and most of it runs without an engine.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any, Literal, get_args

import pytest

Need = Literal["airflow", "terraform", "local", "docker", "e2e"]
EVERY: tuple[Need, ...] = get_args(Need)

CHECKOUT = Path(__file__).parents[1]

# The longest path that a test's file begins with counts.
NEEDS: dict[str, tuple[Need, ...]] = {
    "tests/unit/": (),
    "tests/local/unit/": (),
    "tests/local/aws/": (),
    "tests/local/aws/test_docker.py": ("docker",),
    "tests/local/gitlab/": ("local",),
    "tests/house/": ("airflow",),  # dags are checked against Airflow's own types
    "tests/contract/test_sagemaker_requests.py": (),
    "tests/contract/airflow_parse/": ("airflow",),
    "tests/contract/airflow_runs/": ("airflow",),
    "tests/contract/downstream/": ("local",),
    "tests/contract/examples/": (),
    "tests/contract/kills/": ("airflow", "local"),
    "tests/contract/lambda/": (),
    "tests/contract/platform/": ("local",),
    "tests/contract/platform/test_job_image.py": ("terraform", "docker"),  # Terraform is put into the image
    "tests/contract/registry/": (),
    "tests/contract/registry/test_docker.py": ("docker",),
    "tests/contract/retraining/": (),
    "tests/contract/templates/": ("local",),
    "tests/contract/terraform/": ("terraform",),
    "tests/e2e/": ("e2e", "airflow", "terraform", "local"),
    "tests/e2e/test_containers.py": ("e2e", "airflow", "terraform", "local", "docker"),
}

_PROGRAMS: dict[str, Need] = {"terraform": "terraform", "node": "local", "rsync": "local", "docker": "docker"}
# Of the image python:3.11-bookworm, which the jobs run in.
_OF_THE_IMAGE = frozenset(
    [
        "bash",
        "cat",
        "chmod",
        "cp",
        "curl",
        "cut",
        "env",
        "false",
        "git",
        "gzip",
        "kill",
        "ls",
        "make",
        "mkdir",
        "mv",
        "openssl",
        "ps",
        "rm",
        "sed",
        "sh",
        "sleep",
        "tar",
        "true",
        "uname",
    ]
)

_started: set[str] = set()


def needs(nodeid: str) -> tuple[Need, ...]:
    """What the folder of a test needs.

    Raises:
        UsageError: when the folder is not in the table.
    """
    fitting = [path for path in NEEDS if nodeid.startswith(path)]
    if not fitting:
        raise pytest.UsageError(f"tests/needs.py has no folder of {nodeid}: add it there, with what it needs")
    return NEEDS[max(fitting, key=len)]


def offence(program: str, allowed: tuple[str, ...]) -> str:
    """Why a test may not start a program; empty when it may."""
    path = Path(program)
    inside = path.is_relative_to(CHECKOUT)
    if not inside and path.is_relative_to(tempfile.gettempdir()):
        return ""  # the test made it
    need = "airflow" if path.is_relative_to(CHECKOUT / ".venv-airflow") else _PROGRAMS.get(path.name)
    if need:
        return "" if need in allowed else f"{program} needs `{need}`"
    python = path.is_relative_to(sys.prefix) or path.name.startswith("python3")
    return "" if inside or python or path.name in _OF_THE_IMAGE else f"{program} is not known there"


def _watch(event: str, facts: tuple[Any, ...]) -> None:
    """Note each program that is started: https://docs.python.org/3/library/audit_events.html"""
    if event == "subprocess.Popen":
        executable, arguments, folder, environment = facts
        first = arguments if isinstance(arguments, (str, bytes, os.PathLike)) else next(iter(arguments), "")
        name = os.fsdecode(executable or first)
        search = (environment or os.environ).get("PATH")
        there = Path(os.fsdecode(folder or Path.cwd()))
        _started.add(str(there / name) if "/" in name else shutil.which(name, path=search) or name)


sys.addaudithook(_watch)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test by what its folder needs."""
    for item in items:
        for need in needs(item.nodeid):
            if need != "docker":
                item.add_marker(need)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail a test that started what its folder does not name, in this process or by a fixture of it."""
    result = yield
    allowed = needs(item.nodeid)
    found = sorted(filter(None, (offence(program, allowed) for program in list(_started))))
    _started.clear()
    if found:
        pytest.fail(f"the folder of {item.nodeid} does not name what it needs in tests/needs.py: {found}")
    return result
