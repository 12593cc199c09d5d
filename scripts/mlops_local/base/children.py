"""Processes that work for the local AWS. Each leads a group of its own, so that all of it can be ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

GRACE_SECONDS = 5.0

Stream = int | IO[bytes] | None


class Children:
    """Starts processes and remembers them until they have ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._closed = False

    def start(  # pylint: disable=too-many-arguments  # as many as Popen needs
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = subprocess.PIPE,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[bytes]:
        """Start a process whose standard error goes where its output goes.

        Raises:
            OSError: when the program cannot be started, or the stack is being stopped.
        """
        with self._lock:
            if self._closed:
                raise OSError("the local AWS is being stopped")
            process = subprocess.Popen(  # pylint: disable=consider-using-with  # it outlives this call
                list(arguments),
                env=dict(environment),
                cwd=folder,
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.STDOUT,
                pass_fds=tuple(pass_fds),
                start_new_session=True,
            )
            self._running[process.pid] = process
        return process

    def stop(self, process: subprocess.Popen[bytes], grace: float = GRACE_SECONDS) -> None:
        """End a process and whatever is left of its group."""
        if process.poll() is None:
            _signal_group(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(grace)
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()
        with self._lock:
            self._running.pop(process.pid, None)

    def close(self) -> None:
        """End everything, and start nothing any more."""
        with self._lock:
            self._closed = True
            running = list(self._running.values())
        for process in running:
            if process.poll() is None:
                _signal_group(process.pid, signal.SIGTERM)
        for process in running:
            self.stop(process)


def _signal_group(group: int, number: signal.Signals) -> None:
    # macOS answers EPERM for a group of zombies
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
