"""Stopping what the local stack started, and nothing else."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable

import psutil

GRACE_SECONDS = 8.0


def group_members(group: int) -> list[psutil.Process]:
    """The living processes of a process group."""
    members = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return members


def stop_group(group: int, grace: float = GRACE_SECONDS) -> None:
    """End a process group and every descendant of it, politely first."""
    stop([*group_members(group)], grace)


def stop(processes: Iterable[psutil.Process], grace: float = GRACE_SECONDS) -> None:
    """End these processes and all their descendants, politely first.

    Descendants are listed before the first signal: once their parent is gone, nothing says whose they were.
    """
    victims: dict[int, psutil.Process] = {}
    for process in processes:
        try:
            victims |= {one.pid: one for one in (process, *process.children(recursive=True))}
        except psutil.NoSuchProcess:
            continue
    _signal(victims.values(), signal.SIGTERM)
    _, alive = psutil.wait_procs(list(victims.values()), timeout=grace)
    _signal(alive, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=grace)


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue
