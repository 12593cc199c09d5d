"""A run of tests that ends, however it ends, leaves no process behind.

SIGTERM ends a run as Ctrl-C does, and Ctrl-C does so in the background too: fixtures are torn down, and stop what
they started. With several processes, the first of them takes in whatever the others' tests leave without a parent
(PR_SET_CHILD_SUBREAPER, prctl(2)), a server that leads a session of its own included. So it knows what is still
there at the end: it ends it, and a run that would have passed fails.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import pytest

from mlops_local.base import processes
from tests import folders

# In which pytest names the test; a test that gives a process an environment of its own hands it on.
STARTER = "PYTEST_CURRENT_TEST"

_PR_SET_CHILD_SUBREAPER = 36
# Seconds between two looks at what was taken in; who waits for a process to go sees it go that much later.
_LOOK = 0.1
# Seconds that the tests' processes have to tear down their fixtures after an interruption: stacks stop in eight.
_TEARDOWN = 60.0
# Seconds within which what a test has asked to stop is gone.
_GOING = 10.0


class Orphans:
    """What tests left without a parent, and the CPU time that it took, in seconds by folder of tests."""

    def __init__(self) -> None:
        self.workers: dict[int, psutil.Process] = {}
        self.cpu: dict[str, float] = defaultdict(float)
        self._folders: dict[int, str] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_after, daemon=True)

    def adopt(self) -> None:
        """Be the parent of every descendant that loses its own, from now on."""
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._thread.start()

    def remain(self) -> list[psutil.Process]:
        """Those that still run, once those that are about to end have ended."""
        deadline = time.monotonic() + _GOING
        while (left := list(self._living())) and time.monotonic() < deadline:
            time.sleep(_LOOK)
        return left

    def end(self) -> None:
        """End every descendant but this process's own workers."""
        while left := list(self._living()):
            processes.stop(left)
        self._over.set()
        self._thread.join()

    def _look_after(self) -> None:
        while not self._over.wait(_LOOK):
            for pid in _children():
                if pid in self.workers:
                    continue
                self._folders.setdefault(pid, _folder(pid))
                done, _, usage = os.wait4(pid, os.WNOHANG)
                if done:
                    self.cpu[self._folders.pop(pid)] += usage.ru_utime + usage.ru_stime

    def _living(self) -> Iterator[psutil.Process]:
        for process in psutil.Process().children():
            if process.pid not in self.workers and process.is_running():
                yield process


def _children() -> list[int]:
    """The children of this process; proc(5) has them in a file, which costs less than to look at all there are."""
    file = Path(f"/proc/self/task/{os.getpid()}/children")
    if file.exists():
        return [int(pid) for pid in file.read_text(encoding="ascii").split()]
    return [child.pid for child in psutil.Process().children()]


def _folder(pid: int) -> str:
    """The folder of the test that a process was started by, as pytest writes it into the environment."""
    try:
        return folders.of(psutil.Process(pid).environ().get(STARTER, ""))
    except psutil.Error:
        return ""


ORPHANS = Orphans()
_NODES: list[Any] = []  # xdist's, one for each process that runs tests


def _interrupt(number: int, _frame: FrameType | None) -> None:
    # A second one while fixtures stop their servers would leave those.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt(signal.Signals(number).name)


def pytest_configure(config: pytest.Config) -> None:
    """A shell starts what runs in the background deaf to SIGINT, and SIGTERM would end Python at once."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    if _leads(config) and sys.platform == "linux":
        ORPHANS.adopt()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodeready(node: Any) -> None:
    """Know the processes that run the tests from those that tests leave."""
    _NODES.append(node)
    pid = node.gateway._rinfo().pid
    ORPHANS.workers[pid] = psutil.Process(pid)


@pytest.hookimpl(tryfirst=True)
def pytest_keyboard_interrupt() -> None:
    """Let every process tear its fixtures down; xdist would give it ten seconds."""
    for worker in ORPHANS.workers.values():
        if worker.is_running():
            worker.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + _TEARDOWN
    while time.monotonic() < deadline and not all(node.shutting_down for node in _NODES):
        time.sleep(_LOOK)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """xdist's own processes have ended by now, with all their fixtures."""
    if not ORPHANS.workers:
        return
    left = ORPHANS.remain() if session.exitstatus != pytest.ExitCode.INTERRUPTED else []
    if left and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    for process in left:
        folder = _folder(process.pid) or "a test"
        sys.stderr.write(f"\n{folder} left {process.pid} running: {' '.join(process.cmdline())}\n")
    ORPHANS.end()


def _leads(config: pytest.Config) -> bool:
    """Whether this process hands the tests out to others."""
    return not hasattr(config, "workerinput") and bool(config.getoption("numprocesses", None))
