"""Processes that have imported a model's libraries before a job wants them.

Importing scikit-learn takes longer than training a small model. So for what ran last, two processes wait
that have its libraries (`spare_main.py`). Each serves one job, as a container does, and another takes its
place.
"""

from __future__ import annotations

import ast
import contextlib
import json
import re
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops_local.base.children import Children

# An evaluation asks two models at once.
COUNT = 2
# Of how many kinds, such as two models with different libraries, spares wait at a time.
KINDS = 2

MAIN = Path(__file__).with_name("spare_main.py")
_PYTHON = re.compile(r"python(3(\.\d+)?)?")


@dataclass(frozen=True)
class SpareKind:
    """What has to be the same for a job to take a spare."""

    python: Path
    modules: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]

    def serves(self, wanted: SpareKind) -> bool:
        """Whether a spare of this kind has imported nothing that a job of the other would not."""
        same = self.python == wanted.python and self.environment == wanted.environment
        return same and set(self.modules) <= set(wanted.modules)


class Spares:
    """The spares of one account; safe to use from several threads."""

    def __init__(self, children: Children) -> None:
        self._children = children
        self._lock = threading.Lock()
        # the kind that was wanted last comes last
        self._waiting: dict[SpareKind, list[subprocess.Popen[bytes]]] = {}

    def start(  # pylint: disable=too-many-arguments  # what a process starts with
        self,
        kind: SpareKind,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        log: Path,
    ) -> subprocess.Popen[bytes] | None:
        """Run a command in a spare, and make more; None if none waits, or the command is not for one."""
        if not kind.modules or len(command) < 3 or not _PYTHON.fullmatch(command[0]) or command[1] != "-m":
            return None
        job = {
            "arguments": list(command[2:]),
            "environment": dict(environment),
            "folder": str(folder),
            "log": str(log),
        }
        with self._lock:
            self._waiting[kind] = self._waiting.pop(kind, [])
            # Its own kind comes first; a model that imports one module more finds the kind before its change.
            taken = None
            for waiting in [found for other, found in self._waiting.items() if other.serves(kind)][::-1]:
                while waiting and taken is None:
                    first = waiting.pop(0)
                    taken = first if _give(first, job) else None
            self._fill(kind)
        return taken

    def _fill(self, kind: SpareKind) -> None:
        while len(self._waiting) > KINDS:
            for process in self._waiting.pop(next(iter(self._waiting))):
                self._children.stop(process, grace=0)
        waiting = self._waiting[kind]
        # without a spare jobs start as well
        with contextlib.suppress(OSError):
            while len(waiting) < COUNT:
                waiting.append(self._spare(kind))

    def _spare(self, kind: SpareKind) -> subprocess.Popen[bytes]:
        # What imports print is the job's, which has no log yet.
        with tempfile.TemporaryFile() as words:
            return self._children.start(
                [str(kind.python), str(MAIN), *kind.modules],
                environment=dict(kind.environment),
                folder=Path("/"),
                stdin=subprocess.PIPE,
                stdout=words,
            )


def _give(process: subprocess.Popen[bytes], job: Mapping[str, object]) -> bool:
    """Give a spare its job; False when it is gone."""
    if process.stdin is None or process.poll() is not None:
        return False
    try:
        process.stdin.write(json.dumps(job).encode())
        process.stdin.close()
    except OSError:
        return False
    return True


def libraries(folder: Path, site_packages: Path) -> tuple[str, ...]:
    """The modules in `site_packages` that the Python files below `folder` import, wherever in them.

    What cannot be read is left to the job.
    """
    found: set[str] = set()
    for file in sorted(folder.rglob("*.py")):
        try:
            tree = ast.parse(file.read_bytes())
        except (OSError, SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module)
    return tuple(sorted(name for name in found if _is_in(site_packages, name)))


def _is_in(site_packages: Path, name: str) -> bool:
    top = site_packages / name.partition(".")[0]
    return top.is_dir() or top.with_suffix(".py").is_file()
