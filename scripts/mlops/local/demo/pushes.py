"""The four pushes, as a data scientist would make them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from mlops.local import paths
from mlops.local.run import git

EXAMPLE = "phishing-url"
_PATCHES = Path(__file__).parent / "patches"


@dataclass(frozen=True, kw_only=True)
class Push:
    """One push: `patch` is a file of changes, none for the example as it is."""

    title: str
    message: str
    patch: str = ""


PUSHES = (
    Push(title="A first model", message="feat: recognise phishing sites"),
    Push(title="An improvement", message="feat: learn from every feature of a site", patch="improve.patch"),
    Push(
        title="A change of documentation", message="docs: say how the data was split", patch="document.patch"
    ),
    Push(
        title="A change that makes the model worse",
        message="fix: simplify the features",
        patch="worsen.patch",
    ),
)


def start_repository(folder: Path) -> Path:
    """A model repo with the example in it, not committed yet."""
    repository = folder / EXAMPLE
    shutil.rmtree(repository, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache", ".venv", ".gitlab-ci-local")
    shutil.copytree(paths.checkout() / "examples" / EXAMPLE, repository, ignore=ignored)
    git(repository, "init", "--quiet", "--initial-branch=main")
    git(repository, "config", "user.name", "Ada")
    git(repository, "config", "user.email", "ada@example.com")
    return repository


def commit(repository: Path, push: Push) -> str:
    """Make the change and commit it; returns the commit."""
    if push.patch:
        git(repository, "apply", "--index", str(_PATCHES / push.patch))
    else:
        git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", push.message)
    return git(repository, "rev-parse", "HEAD")
