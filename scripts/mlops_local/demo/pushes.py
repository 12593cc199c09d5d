"""The five pushes, as data scientists would make them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from mlops_local.base import paths
from mlops_local.command.run import git

EXAMPLE = "phishing-url"
_HERE = Path(__file__).parent
_PATCHES = _HERE / "patches"


@dataclass(frozen=True, kw_only=True)
class Push:
    """One push of an example: `patch` is a file of changes, none for the example as it is."""

    title: str
    message: str
    patch: str = ""
    example: str = EXAMPLE
    model: str = EXAMPLE
    pipeline: str = ""
    """A CI file that takes the place of the example's."""


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
    Push(
        title="Another repository, whose pipeline runs in the platform's project",
        message="feat: predict the species of penguins",
        example="penguins",
        model="species",
        pipeline="downstream.gitlab-ci.yml",
    ),
)


def start_repository(folder: Path, push: Push) -> Path:
    """A model repo with the push's example in it, not committed yet."""
    repository = folder / push.example
    shutil.rmtree(repository, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache", ".venv", ".gitlab-ci-local")
    shutil.copytree(paths.checkout() / "examples" / push.example, repository, ignore=ignored)
    if push.pipeline:
        shutil.copyfile(_HERE / push.pipeline, repository / ".gitlab-ci.yml")
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
