"""Where the local stack finds the checkout it runs, and where it keeps its own files."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from mlops.base.errors import LocalStackError, UsageError

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
        UsageError: when the name is not a plain name.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a name for a stack", next_step="Use lower-case letters, digits and hyphens."
        )
    return stacks() / name


def runs(name: str) -> Path:
    """Where the pipelines of one stack run, outside the checkout.

    pytest, pylint, ruff, mypy and uv look for settings in all folders above the one they work in, and below
    the checkout they would find its own pyproject.toml. In /tmp another user could put settings above them.

    Raises:
        UsageError: when the name is not a plain name.
    """
    cached = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cached.is_absolute():  # https://specifications.freedesktop.org/basedir-spec/latest/
        cached = Path.home() / ".cache"
    key = hashlib.sha256(str(checkout()).encode()).hexdigest()[:12]
    return cached / "ml-ops" / key / home(name).name


def airflow_python() -> Path:
    """The interpreter of Airflow's own environment.

    Raises:
        LocalStackError: when it has not been set up.
    """
    python = checkout() / ".venv-airflow" / "bin" / "python"
    if not python.exists():
        raise LocalStackError("Airflow is not installed in this checkout", next_step="Run: make setup")
    return python
