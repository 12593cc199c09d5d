"""The pause between two rounds of Airflow's scheduler: it ends when Airflow's API has changed something.

Airflow's own scheduler sleeps for `scheduler_idle_sleep_time`, by default a second, and looks again,
whatever happens. A round takes 30 ms of a core, so a sleep of 0.2 s costs an eighth of it all day, and a
long one lets each task of a run wait for it. Here all of Airflow is forked from one process, so the web
servers can wake the scheduler through a pipe. What is not said through the API, such as the end of a
trigger or the time of a retry, waits as it does in any Airflow.
"""

from __future__ import annotations

import contextlib
import os
import re
import select

from mlops_local.base.loopback import AsgiApplication, Message, Receive, Send

# A round that changed something can end with work for the next one: it skips a task, and only the next one
# sees what follows from that.
SHORT_SECONDS = 0.05
_CHANGE = re.compile(r"UPDATE task_instance |UPDATE dag_run SET .*\bstate=", re.DOTALL)


class Bell:
    """A pipe that forked processes share: any of them rings, one of them listens."""

    def __init__(self) -> None:
        self._listened, self._rung = os.pipe()
        os.set_blocking(self._listened, False)
        os.set_blocking(self._rung, False)

    def ring(self) -> None:
        """Wake the listener; a pipe that is full has woken it already."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._rung, b".")

    def heard(self, seconds: float) -> bool:
        """Wait until somebody rings, at most for that time; whether somebody did."""
        if not select.select([self._listened], [], [], seconds)[0]:
            return False
        with contextlib.suppress(BlockingIOError):
            while os.read(self._listened, 4096):
                pass
        return True


class Pause:
    """What the scheduler calls instead of `time.sleep`."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._changed = False

    def begin_round(self) -> None:
        """Forget what earlier rounds changed."""
        self._changed = False

    def note(self, statement: str) -> None:
        """Take in what the scheduler writes to its database: whether a run's or a task's state changes."""
        self._changed = self._changed or bool(_CHANGE.match(statement))

    def sleep(self, seconds: float) -> None:
        """Wait for the bell, at most for that time, and not for long after a round that changed something."""
        self._bell.heard(min(seconds, SHORT_SECONDS) if self._changed else seconds)


def ringing(app: AsgiApplication, bell: Bell) -> AsgiApplication:
    """An ASGI application that rings once it has answered a request which changes a run or a task's state."""

    async def ringing_app(scope: Message, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)
        if scope["type"] == "http" and _changes_work(scope["method"], scope["path"]):
            bell.ring()

    return ringing_app


def _changes_work(method: str, path: str) -> bool:
    # A running task's heartbeats and XComs give the scheduler nothing to do; its last state does.
    return method not in ("GET", "HEAD") and (path.startswith("/api/") or path.endswith("/state"))
