"""The demo, run once; the tests look at what it left."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from mlops_local.base import paths
from mlops_local.command.run import git
from mlops_local.stack.stack import Stack, require

CHECKOUT = Path(__file__).parents[2]

# For `repository`: one file of the example is linted, and its tests run.
LITTLE_CHECKED = {
    "{ model: phishing-url }": "{ model: phishing-url, lint-paths: phishing_url/features.py, "
    "test-arguments: tests/test_features.py }"
}


@dataclass(frozen=True)
class Demo:
    """A demo that ran and whose stack is still up."""

    stack: Stack
    summary: dict[str, Any]
    output: str


def mlops(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the `mlops` command as a person would."""
    environment = {**os.environ, **variables}
    return subprocess.run(
        [str(Path(sys.executable).with_name("mlops")), *arguments],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def demo(name: str, engine: str, summary: Path, *options: str, **variables: str) -> Iterator[Demo]:
    """Run the demo, keep its stack for the tests, and stop it; nothing of it may be left running."""
    arguments = ("demo", "--engine", engine, "--keep", "--summary", str(summary), *options)
    try:
        done = mlops("local", "--name", name, *arguments, **variables)
        assert done.returncode == 0, done.stderr[-6000:]
        yield Demo(require(name), json.loads(summary.read_text()), done.stdout + done.stderr)
    finally:
        mlops("local", "--name", name, "down")
    folders = (str(paths.home(name)), str(paths.runs(name)))
    left = [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(folder in _words(process) for folder in folders)
    ]
    assert left == []


def calls(stack: Stack) -> list[dict[str, Any]]:
    """What the local AWS was asked, oldest first; the account's own key has no role."""
    text = (stack.folder / "aws" / "calls.jsonl").read_text(encoding="utf-8")
    return list(map(json.loads, text.splitlines()))


def repository(example: str, folder: Path, inputs: Mapping[str, str]) -> Path:
    """A copy of an example as a repository of its own, with some lines of its .gitlab-ci.yml replaced.

    The demo has the whole examples linted and tested; a test of what comes after that has less to check.
    """
    copy = folder / example
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache", ".venv")
    shutil.copytree(CHECKOUT / "examples" / example, copy, ignore=ignored)
    for old, new in inputs.items():
        change(copy / ".gitlab-ci.yml", old, new)
    git(copy, "init", "--quiet", "--initial-branch=main")
    return copy


def change(file: Path, old: str, new: str) -> None:
    """Replace what stands once in a file."""
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, (file, old)
    file.write_text(text.replace(old, new), encoding="utf-8")


def commit(repository: Path, message: str) -> None:
    """Commit everything there is."""
    git(repository, "add", "--all")
    author = ("-c", "user.name=Ada", "-c", "user.email=ada@localhost")
    git(repository, *author, "commit", "--quiet", "-m", message)


def _words(process: psutil.Process) -> str:
    return " ".join(process.info["cmdline"] or ())


@pytest.fixture(scope="package")
def in_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo with jobs as processes, on an account that Terraform has made for it."""
    summary = tmp_path_factory.mktemp("demo") / "summary.json"
    yield from demo(f"e2e-{os.getpid()}", "process", summary, "--fresh")
