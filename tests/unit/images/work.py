"""A git repository that tests write into."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


class Work:
    """A repository to commit to, one minute after the other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._minute = 0
        root.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        date = f"2026-01-01T{self._minute // 60:02}:{self._minute % 60:02}:00Z"
        identity = {
            f"GIT_{who}_{what}": "ann@example.org"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        environment = {**os.environ, **identity, "GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        environment["GIT_CONFIG_GLOBAL"] = os.devnull
        return subprocess.run(
            ["git", "-C", str(self.root), *arguments],
            check=True,
            capture_output=True,
            text=True,
            env=environment,
        ).stdout.strip()

    def commit(self, message: str, path: str = "code.py", content: str | None = None) -> str:
        self._minute += 1
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if content is not None else f"{self._minute}\n")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")

    def merge(self, branch: str, message: str, *others: str) -> str:
        self._minute += 1
        self.git("merge", "--quiet", "--no-ff", "--message", message, branch, *others)
        return self.git("rev-parse", "HEAD")
