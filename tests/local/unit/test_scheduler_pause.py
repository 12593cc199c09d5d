"""The scheduler's pause: who ends it, how long it grows, and what rings."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import MutableMapping
from typing import Any

import pytest

from mlops_local.airflow.scheduler_pause import SHORT_SECONDS, Bell, Pause, ringing
from mlops_local.base.loopback import Receive, Send

LONG = 600.0


class Waits:
    """A bell that nobody rings; it notes how long somebody would have waited for it."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def heard(self, seconds: float) -> bool:
        self.seconds.append(seconds)
        return False


def test_a_ring_of_another_process_ends_the_wait() -> None:
    bell = Bell()
    pid = os.fork()
    if not pid:
        bell.ring()
        os._exit(0)
    assert bell.heard(LONG)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_ring_before_the_wait_is_heard_once() -> None:
    bell = Bell()
    bell.ring()
    bell.ring()
    assert bell.heard(LONG)
    assert not bell.heard(0)


def test_nobody_waits_for_a_listener() -> None:
    bell = Bell()
    for _ in range(100_000):  # more than a pipe holds
        bell.ring()
    assert bell.heard(0)
    assert not bell.heard(0)


def test_without_a_ring_the_wait_ends_in_time() -> None:
    began = time.monotonic()
    assert not Bell().heard(0.02)
    assert time.monotonic() - began >= 0.02


@pytest.mark.parametrize(
    ("statement", "seconds"),
    [
        ("UPDATE task_instance SET state=? WHERE task_instance.id = ?", SHORT_SECONDS),
        ("UPDATE dag_run SET end_date=?, state=?, updated_at=? WHERE dag_run.id = ?", SHORT_SECONDS),
        ("UPDATE dag_run SET last_scheduling_decision=?, updated_at=? WHERE dag_run.id = ?", 1.0),
        ("UPDATE job SET latest_heartbeat=? WHERE job.id = ?", 1.0),
        ("SELECT task_instance.state FROM task_instance", 1.0),
    ],
)
def test_only_a_round_that_changed_a_state_is_soon_followed_by_another(
    statement: str, seconds: float
) -> None:
    waits = Waits()
    pause = Pause(waits)  # type: ignore[arg-type]
    pause.begin_round()
    pause.note(statement)
    pause.note("SELECT 1")
    pause.sleep(1.0)
    pause.begin_round()
    pause.sleep(1.0)
    assert waits.seconds == [seconds, 1.0]


def test_a_timed_event_of_the_scheduler_ends_a_pause_too() -> None:
    waits = Waits()
    Pause(waits).sleep(0.001)  # type: ignore[arg-type]
    assert waits.seconds == [0.001]


@pytest.mark.parametrize(
    ("method", "path", "rings"),
    [
        ("POST", "/api/v2/dags/model_training/dagRuns", True),
        ("PATCH", "/api/v2/dags/model_training/dagRuns/x", True),
        ("PATCH", "/execution/task-instances/0199/state", True),
        ("GET", "/api/v2/dags/model_training/dagRuns/x", False),
        ("HEAD", "/api/v2/version", False),
        ("PATCH", "/execution/task-instances/0199/run", False),
        ("PUT", "/execution/task-instances/0199/heartbeat", False),
        ("POST", "/execution/xcoms/model_training/x/validate/return_value", False),
        ("POST", "/auth/token", False),
    ],
)
def test_what_changes_a_run_or_a_state_rings(method: str, path: str, rings: bool) -> None:
    assert _asked({"type": "http", "method": method, "path": path}) == rings


def test_start_and_end_of_the_server_do_not_ring() -> None:
    assert not _asked({"type": "lifespan"})


def _asked(scope: MutableMapping[str, Any]) -> bool:
    """Whether a request rings; never before it has been answered."""
    bell = Bell()
    answered = []

    async def app(_scope: object, _receive: Receive, _send: Send) -> None:
        assert not bell.heard(0)
        answered.append(True)

    async def receive() -> MutableMapping[str, Any]:
        return {}

    async def send(_message: MutableMapping[str, Any]) -> None:
        return None

    asyncio.run(_call(ringing(app, bell), scope, receive, send))
    assert answered
    return bell.heard(0)


async def _call(app: Any, *arguments: Any) -> None:
    await app(*arguments)
