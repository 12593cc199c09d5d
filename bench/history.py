"""Repositories with a long history, made in a second."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RELEASED_BEFORE = 50
"""So many commits are new since the last release."""

MANIFEST = """\
project: web-safety
models:
  phishing-url:
    training: {channels: {train: data/train/}}
    evaluation: {data: data/test/, metrics: [{name: f1}]}
    deployment: {smoke_test: {body: "1"}}
"""
DOCKERFILE = """\
ARG BASE_IMAGE=python:3.11@sha256:0000000000000000000000000000000000000000000000000000000000000000
FROM ${BASE_IMAGE}
WORKDIR /opt/program
COPY phish phish
RUN python3 -m compileall -q phish
ENTRYPOINT ["python3", "-m", "phish"]
"""
FILES = {
    "mlops.yml": MANIFEST,
    "Dockerfile": DOCKERFILE,
    ".dockerignore": "*\n!phish\n",
    "pyproject.toml": '[tool.semantic_release]\ntag_format = "v{version}"\n',
    **{f"phish/module{number}.py": f"NUMBER = {number}\n" for number in range(50)},
}


@dataclass(frozen=True)
class History:
    """A clone with an origin beside it; `released` is the commit of v1.0.0."""

    clone: Path
    released: str


def make(folder: Path, commits: int) -> History:
    """A repository of one model with as many commits, all but the last 50 of them released as v1.0.0."""
    origin, clone = folder / f"origin-{commits}.git", folder / f"clone-{commits}"
    git(folder, "init", "--quiet", "--bare", "--initial-branch=main", str(origin))
    subprocess.run(
        ["git", "-C", str(origin), "fast-import", "--quiet"], input=b"".join(_stream(commits)), check=True
    )
    git(origin, "config", "uploadpack.allowFilter", "true")  # as GitLab has it
    git(origin, "repack", "-a", "-d", "--quiet")
    git(folder, "clone", "--quiet", f"file://{origin}", str(clone))
    return History(clone, git(clone, "rev-parse", "v1.0.0^{commit}"))


def git(folder: Path, *arguments: str) -> str:
    """Run git and return what it says."""
    done = subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _stream(commits: int) -> Iterator[bytes]:
    """What `git fast-import` reads: https://git-scm.com/docs/git-fast-import#_input_format."""
    for number in range(1, commits + 1):
        since = commits - number
        message = "feat: score in batches" if since == RELEASED_BEFORE // 2 else f"fix: number {number}"
        yield b"commit refs/heads/main\n"
        yield f"committer Ann <ann@example.org> {1_600_000_000 + number * 60} +0000\n".encode()
        yield f"data {len(message)}\n{message}\n".encode()
        files = FILES if number == 1 else {f"phish/module{number % 50}.py": f"NUMBER = {number}\n"}
        for path, text in files.items():
            yield f"M 100644 inline {path}\ndata {len(text)}\n{text}\n".encode()
        if since == RELEASED_BEFORE:
            yield b"reset refs/tags/v1.0.0\nfrom refs/heads/main\n\n"
