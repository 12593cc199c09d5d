from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil

from mlops_local.base import processes

# A parent that ignores SIGTERM, with a child that ignores it too.
STUBBORN = (
    "import signal, subprocess, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import signal, time; "
    "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)'])\n"
    "print(child.pid, flush=True)\n"
    "time.sleep(60)\n"
)


def start(code: str) -> tuple[subprocess.Popen[str], int]:
    """A process in a session of its own, and the pid it prints."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_group_that_ignores_sigterm_is_gone_after_the_grace() -> None:
    parent, child = start(STUBBORN)
    time.sleep(0.2)
    processes.stop_group(parent.pid, grace=0.3)
    parent.wait(timeout=5)
    assert gone(child)


def test_a_descendant_in_another_session_is_stopped_too() -> None:
    parent, child = start(
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)\n"
        "print(child.pid, flush=True)\ntime.sleep(60)\n"
    )
    processes.stop_group(parent.pid, grace=2)
    parent.wait(timeout=5)
    assert gone(child)


def test_other_processes_are_left_alone() -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        parent, _ = start("import os, time; print(os.getpid(), flush=True); time.sleep(60)")
        processes.stop_group(parent.pid, grace=2)
        parent.wait(timeout=5)
        assert bystander.poll() is None
        assert os.getpgid(bystander.pid) == os.getpgid(0)
    finally:
        bystander.kill()
        bystander.wait()


def test_a_group_that_is_gone_already_is_fine() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    process.wait()
    processes.stop_group(process.pid)
