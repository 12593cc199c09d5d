"""Start a DAG run or find it, wait for it with visible progress, and say why it failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from mlops.base import console
from mlops.base.errors import MlopsError, RunFailedError, RunTimeoutError, SettingsError, TriggerError
from mlops.contracts.evidence import FAILURE, Failure
from mlops.contracts.runs import Conf, EventConf, RunAnswer, RunProblem, make_run_id

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0
# A pause is this part of the time waited so far: at most so much is lost at the end of a run.
_PAUSE_PART = 0.05
# How long Airflow may be out of reach before waiting ends; an update of MWAA's web server takes minutes.
PATIENCE = 600.0
# With nothing new to say, one line as often as this shows that the job is alive.
_HEARTBEAT = 60.0
_ATTEMPTS = 50
# What SageMaker's limits of a job's time leave out: machines that start, images and data that are copied, and
# Airflow's queue between the jobs.
MARGIN = 3600.0
# What a job needs after its wait, to report and to keep its files, before GitLab ends it.
_CLOSING = 120.0
_FINISHED = frozenset({"success", "failed"})
# A task passes through the first in an instant, and never runs in the others.
_SILENT = frozenset({"", "scheduled", "queued", "removed", "skipped", "upstream_failed"})


class Runs(Protocol):
    """What is needed of `clients.trigger.Trigger`."""

    def start(self, dag_id: str, run_id: str, conf: Conf | EventConf, spill_uri: str) -> RunAnswer: ...

    def status(self, dag_id: str, run_id: str) -> RunAnswer: ...


class Records(Protocol):
    """What is needed of `clients.storage.Storage`."""

    def exists(self, uri: str) -> bool: ...

    def read_record(self, record: type[Failure], uri: str) -> Failure: ...


@dataclass(frozen=True)
class Clock:
    """Time, in seconds."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a run is to do. `identity` holds all that makes it this work and no other."""

    dag_id: str
    label: str
    identity: str
    conf: Conf | EventConf
    spill_uri: str
    """The S3 object to put a conf into that is too large to travel."""


def start_or_join(runs: Runs, work: Work, done: Callable[[], bool], clock: Clock = Clock()) -> RunAnswer:
    """The run of this work: one that is under way, one that succeeded, or a new one after those that failed.

    Args:
        runs: The Lambda.
        work: What to do.
        done: Whether what an earlier success left behind still stands; if not, the work is done again.
        clock: Time.

    Raises:
        TriggerError: when Airflow does not take it.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        run_id = make_run_id(work.label, work.identity, attempt)
        answer = runs.status(work.dag_id, run_id)
        if _kind(answer) == "run_not_found" or (answer.problem is not None and answer.problem.retryable):
            answer = runs.start(work.dag_id, run_id, work.conf, work.spill_uri)
            if _kind(answer) == "conflict":  # another pipeline started this work in the same moment
                answer = _look_up(runs, work.dag_id, run_id, clock)
        if answer.problem is not None:
            raise refusal(answer)
        if answer.state == "failed":
            console.say(f"Run {run_id} failed earlier; starting anew")
        elif answer.state == "success" and not done():
            console.say(f"Run {run_id} succeeded earlier, but its result is gone; starting anew")
        else:
            return answer
    raise _exhausted(work)


def _look_up(runs: Runs, dag_id: str, run_id: str, clock: Clock) -> RunAnswer:
    """How a run does that is known to be there. Many who start at once keep Airflow too busy to say."""
    asked = clock.now()
    while True:
        answer = runs.status(dag_id, run_id)
        waited = clock.now() - asked
        if answer.problem is None or not answer.problem.retryable or waited > PATIENCE:
            return answer
        pause = min(LONGEST_PAUSE, max(FIRST_PAUSE, waited))
        console.say(f"{answer.problem.kind.replace('_', ' ')}: asking again in {pause:.1f} s")
        clock.sleep(pause)


def find_run(work: Work, state_of: Callable[[str], str], done: Callable[[], bool]) -> tuple[str, bool]:
    """The id that `start_or_join` would end with, and whether it would start that run.

    Args:
        work: What to do.
        state_of: The state of a run; empty if there is none.
        done: As for `start_or_join`.

    Raises:
        TriggerError: when too many runs of this work failed.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        run_id = make_run_id(work.label, work.identity, attempt)
        state = state_of(run_id)
        if not state:
            return run_id, True
        if state != "failed" and (state != "success" or done()):
            return run_id, False
    raise _exhausted(work)


def patience(longest: float, asked: str, variables: Mapping[str, str], now: datetime | None = None) -> float:
    """How long to wait for a run, in seconds, and a warning when GitLab gives the job less.

    Args:
        longest: The longest that the manifest lets the run's jobs take; a margin comes on top.
        asked: What a person asked for instead; empty or 0 for nothing.
        variables: The environment: GitLab says how long the job may take, the runner's own maximum included.
        now: Only for tests.

    Raises:
        SettingsError: when `asked` is not a number of seconds.
    """
    try:
        wanted = float(asked or 0)
        job = float(variables.get("CI_JOB_TIMEOUT") or "inf")
    except ValueError as error:
        raise SettingsError(
            "The time to wait is not a number of seconds",
            cause=str(error),
            next_step="Set the input wait-seconds to a whole number, or leave it out.",
        ) from error
    if wanted <= 0:
        wanted = longest + MARGIN
    left = job - _used(variables, now or datetime.now(UTC)) - _CLOSING
    if left >= wanted:
        return wanted
    console.warn(
        f"The run may take {wanted:.0f} s, and GitLab ends this job after {job:.0f} s: "
        f"it waits {left:.0f} s. "
        "Run it again if that is too short, or give it more time: docs/guides/pipeline.md, How long a job"
        " waits."
    )
    return max(left, 0.0)


def _used(variables: Mapping[str, str], now: datetime) -> float:
    try:
        return max(
            (now - datetime.fromisoformat(variables.get("CI_JOB_STARTED_AT", ""))).total_seconds(), 0.0
        )
    except (ValueError, TypeError):  # outside GitLab, or without a time zone
        return 0.0


def wait(runs: Runs, dag_id: str, run_id: str, timeout: float, clock: Clock = Clock()) -> RunAnswer:
    """Poll until the run is over, with one line for each change of a task.

    Raises:
        RunTimeoutError: after `timeout` seconds; the run goes on.
        TriggerError: when Airflow does not know the run, or has been out of reach for long.
    """
    progress = _Progress()
    started = answered = clock.now()
    link = ""
    while True:
        answer = runs.status(dag_id, run_id)
        now = clock.now()
        if answer.problem is None:
            answered, link = now, answer.run_url
            progress.show(answer, now - started)
            if answer.state in _FINISHED:
                return answer
        elif not answer.problem.retryable or now - answered > PATIENCE:
            raise refusal(answer)
        else:
            progress.show_trouble(answer.problem, now - started)
        pause = min(LONGEST_PAUSE, max(FIRST_PAUSE, _PAUSE_PART * (now - started)))
        if now - started + pause > timeout:
            raise RunTimeoutError(
                f"Run {run_id} of {dag_id} is not over after {now - started:.0f} seconds",
                cause=f"last seen: {progress.summary()}",
                next_step="Run this job again: the run goes on, and the job finds it.",
                link=link,
            )
        clock.sleep(pause)


@dataclass
class _Progress:
    """What has been said so far."""

    seen: dict[str, str] = field(default_factory=dict)
    run_state: str = "not seen yet"
    said_at: float = 0.0
    in_trouble: bool = False

    def show(self, answer: RunAnswer, elapsed: float) -> None:
        if self.in_trouble:
            self._say("Airflow answers again", elapsed)
            self.in_trouble = False
        for task in answer.tasks:
            state = f"{task.state} (try {task.try_number})" if task.try_number > 1 else task.state
            if task.state not in _SILENT and self.seen.get(task.task_id) != state:
                took = f" after {task.seconds:.1f} s" if task.seconds and task.state in _FINISHED else ""
                self._say(f"{task.task_id}: {state}{took}", elapsed)
            self.seen[task.task_id] = state
        if answer.state != self.run_state:
            self.run_state = str(answer.state)
            self._say(f"run {answer.run_id}: {self.run_state}", elapsed)
        elif elapsed - self.said_at >= _HEARTBEAT:
            self._say(f"still waiting: {self.summary()}", elapsed)

    def show_trouble(self, problem: RunProblem, elapsed: float) -> None:
        if not self.in_trouble or elapsed - self.said_at >= _HEARTBEAT:
            self._say(f"no answer, trying on: {problem.kind}: {problem.message}", elapsed)
        self.in_trouble = True

    def summary(self) -> str:
        under_way = [
            f"{task} {state}" for task, state in self.seen.items() if state not in _FINISHED and state
        ]
        return ", ".join(under_way) or f"run {self.run_state}"

    def _say(self, line: str, elapsed: float) -> None:
        console.say(f"{elapsed:6.0f} s  {line}")
        self.said_at = elapsed


def failure(records: Records, evidence_uri: str, run_id: str) -> Failure | None:
    """What this run wrote of its failure; None when it could not, or the file is of an earlier run.

    Raises:
        StorageError: when S3 does not answer.
    """
    uri = evidence_uri + FAILURE
    if not records.exists(uri):
        return None
    try:
        found = records.read_record(Failure, uri)
    except MlopsError as error:  # a broken report must not hide that the run failed
        console.warn(f"{uri} cannot be used: {error.what}")
        return None
    return found if found.run_id == run_id else None


def run_failed(records: Records, evidence_uri: str, answer: RunAnswer, what: str) -> RunFailedError:
    """The error of a run that failed, with its real cause.

    Args:
        records: S3.
        evidence_uri: Where the run writes.
        answer: The run's last answer.
        what: What failed, as a person calls it: `Training of phishing-url 1.3.0+retrain.0`.

    Raises:
        StorageError: when S3 does not answer.
    """
    found = failure(records, evidence_uri, answer.run_id)
    if found is not None:
        return RunFailedError(
            f"{what} failed at {found.task_id}",
            cause=found.cause,
            next_step=found.next_step,
            link=found.log_url or answer.run_url,
        )
    tasks = ", ".join(task.task_id for task in answer.tasks if task.state == "failed")
    return RunFailedError(
        f"{what} failed" + (f" at {tasks}" if tasks else ""),
        cause=f"run {answer.run_id} of {answer.dag_id} left no report of its failure",
        next_step="Read the log of the first failed task in Airflow.",
        link=answer.run_url,
    )


def refusal(answer: RunAnswer) -> TriggerError:
    """The error a person reads for an answer with a problem."""
    problem = answer.problem
    if problem is None:
        raise ValueError("this answer has no problem")
    return TriggerError(
        f"DAG {answer.dag_id}: {problem.kind.replace('_', ' ')}",
        cause=problem.message,
        next_step=problem.next_step,
        link=answer.run_url,
    )


def _exhausted(work: Work) -> TriggerError:
    return TriggerError(
        f"{_ATTEMPTS} runs of {work.label} failed",
        next_step="Push a change: this version does not train.",
    )


def _kind(answer: RunAnswer) -> str:
    return answer.problem.kind if answer.problem else ""
