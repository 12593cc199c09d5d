"""A run that is ended in the middle stops what its tests started: servers in a session of their own, too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

CHECKOUT = Path(__file__).parents[2]

# A test that waits beside a server with a fixture, and one that no fixture and no parent knows.
_TESTS = """
import os, pathlib, subprocess, time
import pytest

@pytest.fixture
def server():
    with subprocess.Popen(["sleep", "{seconds}1"], start_new_session=True) as process:
        yield process
        process.terminate()
        pathlib.Path("torn-down").touch()

def test_it(server):
    subprocess.run(["sh", "-c", "setsid sleep {seconds}2 & exit 0"], stdin=subprocess.DEVNULL)
    time.sleep({sleep})
"""

# Hypothesis alone would take a second, at each end of a run that has not used it.
_PLUGINS = ("-p", "tests.ending", "-p", "no:cacheprovider", "-p", "no:hypothesispytest")


def servers(seconds: int) -> list[list[str]]:
    """What is left of the servers of one run, which are known by how long they sleep."""
    own = ["sleep", f"{seconds}1"], ["sleep", f"{seconds}2"]
    return [
        words for process in psutil.process_iter(["cmdline"]) if (words := process.info["cmdline"]) in own
    ]


def start(folder: Path, seconds: int, sleep: float, *options: str) -> subprocess.Popen[str]:
    """A run of its own, as deaf to SIGINT as what a script starts with `&`."""
    (folder / "test_servers.py").write_text(_TESTS.format(seconds=seconds, sleep=sleep), encoding="utf-8")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", *_PLUGINS, *options],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTEST_ADDOPTS": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    seconds = 10_000 + os.getpid() * 10 + number
    with start(tmp_path, seconds, 500, "--numprocesses", "1") as run:
        deadline = time.monotonic() + 60
        # the shell of the second server may be gone before that has become what it will be
        while len(servers(seconds)) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        started = servers(seconds)
        run.send_signal(number)
        output, _ = run.communicate(timeout=60)

    assert len(started) == 2
    assert run.returncode == pytest.ExitCode.INTERRUPTED, output
    assert (tmp_path / "torn-down").exists()
    assert servers(seconds) == []


def test_a_run_whose_tests_leave_a_server_fails_and_says_which(tmp_path: Path) -> None:
    seconds = 10_000 + os.getpid() * 10
    with start(tmp_path, seconds, 0, "--numprocesses", "1") as run:
        output, _ = run.communicate(timeout=120)

    assert "1 passed" in output
    assert f"running: sleep {seconds}2" in output
    assert run.returncode == pytest.ExitCode.TESTS_FAILED
    assert servers(seconds) == []
