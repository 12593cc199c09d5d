"""Where the local stack finds the checkout it runs, and where it keeps its own files."""

from __future__ import annotations

import re
from pathlib import Path

from mlops.errors import LocalStackError, UsageError

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


def checkout() -> Path:
    """The checkout of ml-ops this package runs from.

    Raises:
        LocalStackError: when the package was installed without its templates, DAGs and Terraform.
    """
    root = Path(__file__).resolve().parents[3]
    if not (root / "ci-templates").is_dir() or not (root / "dags").is_dir():
        raise LocalStackError(
            "The local stack needs a checkout of ml-ops",
            cause=f"{root} has no ci-templates and dags",
            next_step="Clone the repository and run `make demo` there.",
        )
    return root


def cache() -> Path:
    """What is worth keeping between stacks: virtual environments, Terraform's plugins."""
    return checkout() / ".mlops" / "cache"


def stacks() -> Path:
    """The folder of all stacks of this checkout."""
    return checkout() / ".mlops" / "stacks"


def home(name: str) -> Path:
    """The folder of one stack.

    Raises:
        UsageError: when the name is no plain name.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for a stack", next_step="Use lower-case letters, digits and hyphens."
        )
    return stacks() / name


def airflow_python() -> Path:
    """The interpreter of Airflow's own environment.

    Raises:
        LocalStackError: when it has not been set up.
    """
    python = checkout() / ".venv-airflow" / "bin" / "python"
    if not python.exists():
        raise LocalStackError("Airflow is not installed in this checkout", next_step="Run: make setup")
    return python
