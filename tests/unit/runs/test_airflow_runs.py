"""Starting, joining and waiting, against runs that follow a script in a time of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain, repeat
from typing import Any

import pytest

from mlops.base.errors import ContractError, RunTimeoutError, SettingsError, TriggerError
from mlops.contracts import runs
from mlops.contracts.evidence import Failure
from mlops.contracts.runs import Conf, EventConf, RunAnswer, RunProblem, TaskState
from mlops.runs import airflow_runs
from mlops.runs.airflow_runs import Clock, Work

DAG = runs.TRAINING_DAG
URL = "https://airflow.example/run"
CONF: Any = "the conf"
WORK = Work(dag_id=DAG, label="phishing-url", identity="work", conf=CONF, spill_uri="s3://b/conf.json")
BUSY = RunProblem(kind="throttled", message="too fast", next_step="wait", retryable=True)
DOWN = RunProblem(kind="airflow_unavailable", message="503", next_step="wait", retryable=True)
GONE = RunProblem(kind="access_denied", message="no", next_step="Grant it.", retryable=False)
CONFLICT = RunProblem(kind="conflict", message="other conf", next_step="-", retryable=False)
UNKNOWN = RunProblem(kind="run_not_found", message="no run", next_step="-", retryable=False)


def numbered(attempt: int) -> str:
    return runs.make_run_id("phishing-url", "work", attempt)


def task(name: str, state: str, number: int = 1, seconds: float | None = None) -> TaskState:
    return TaskState(task_id=name, state=state, try_number=number, seconds=seconds)


def run(
    state: Any = None, *tasks: TaskState, problem: RunProblem | None = None, run_id: str = "r"
) -> RunAnswer:
    return RunAnswer(dag_id=DAG, run_id=run_id, state=state, tasks=tasks, run_url=URL, problem=problem)


@dataclass
class FakeTime:
    seconds: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.seconds += seconds

    def clock(self) -> Clock:
        return Clock(now=lambda: self.seconds, sleep=self.sleep)


@dataclass
class Script:
    """Answers each poll by what `at` says of that time."""

    time: FakeTime
    at: Callable[[float], RunAnswer]
    polls: int = 0

    def status(self, dag_id: str, run_id: str) -> RunAnswer:
        assert (dag_id, run_id) == (DAG, "r")
        self.polls += 1
        return self.at(self.time.seconds)

    def start(self, dag_id: str, run_id: str, conf: Conf | EventConf, spill_uri: str) -> RunAnswer:
        raise AssertionError(f"waiting starts nothing, not {(dag_id, run_id, conf, spill_uri)}")


def wait(at: Callable[[float], RunAnswer], timeout: float = 10_000) -> tuple[RunAnswer, FakeTime]:
    time = FakeTime()
    return airflow_runs.wait(Script(time, at), DAG, "r", timeout, time.clock()), time


def test_each_change_of_a_task_is_one_line_and_polls_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    def at(seconds: float) -> RunAnswer:
        if seconds < 1:
            return run("queued")
        if seconds < 20:
            return run("running", task("validate", "success", seconds=0.4), task("train", "scheduled"))
        if seconds < 40:
            return run("running", task("validate", "success", seconds=0.4), task("train", "running", 2))
        skipped = (task("champion", "skipped"), task("compare", "upstream_failed"))
        return run("success", task("validate", "success"), task("train", "success", 2, 19.96), *skipped)

    answer, time = wait(at)
    assert answer.state == "success"
    lines = [line.split("s  ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "run r: queued",
        "validate: success after 0.4 s",
        "run r: running",
        "train: running (try 2)",
        "train: success (try 2) after 20.0 s",
        "run r: success",
    ]
    assert len(time.pauses) > 30


def test_pauses_grow_from_half_a_second_to_ten() -> None:
    _, time = wait(lambda seconds: run("running" if seconds < 1000 else "success"))
    assert time.pauses[0] == 0.5
    assert time.pauses == sorted(time.pauses)
    assert time.pauses[-1] == 10.0


def test_a_quiet_wait_shows_that_it_is_alive(capsys: pytest.CaptureFixture[str]) -> None:
    wait(lambda seconds: run("running" if seconds < 190 else "failed", task("train", "deferred")))
    lines = capsys.readouterr().err.splitlines()
    assert sum("still waiting: train deferred" in line for line in lines) == 3


def test_after_the_timeout_the_run_goes_on_and_the_next_step_says_so() -> None:
    with pytest.raises(RunTimeoutError) as caught:
        wait(lambda _: run("running", task("train", "running")), timeout=90)
    assert caught.value.cause == "last seen: train running"
    assert "Run this job again" in caught.value.next_step
    assert caught.value.link == URL


@pytest.mark.parametrize("problem", [BUSY, DOWN])
def test_airflow_may_be_out_of_reach_for_a_while(
    problem: RunProblem, capsys: pytest.CaptureFixture[str]
) -> None:
    answer, _ = wait(
        lambda seconds: (
            run(problem=problem) if 5 < seconds < 300 else run("running" if seconds < 400 else "success")
        )
    )
    assert answer.state == "success"
    output = capsys.readouterr().err
    assert f"no answer, trying on: {problem.kind}" in output
    assert output.count("Airflow answers again") == 1
    assert output.count("no answer") <= 6


def test_airflow_that_stays_away_ends_the_wait() -> None:
    time = FakeTime()
    with pytest.raises(TriggerError, match="airflow unavailable") as caught:
        airflow_runs.wait(Script(time, lambda _: run(problem=DOWN)), DAG, "r", 10_000, time.clock())
    assert caught.value.cause == "503"
    assert 600 < time.seconds < 700


def test_a_final_problem_ends_the_wait_at_once() -> None:
    time = FakeTime()
    with pytest.raises(TriggerError, match="access denied"):
        airflow_runs.wait(Script(time, lambda _: run(problem=GONE)), DAG, "r", 10_000, time.clock())
    assert not time.pauses


@dataclass
class Airflow:
    """Runs by their id; `start` makes one, unless it is told to do otherwise."""

    states: dict[str, Any] = field(default_factory=dict)
    status_problems: Iterator[RunProblem] = field(default_factory=lambda: iter(()))
    start_problem: RunProblem | None = None
    taken_by_another: bool = False
    started: list[str] = field(default_factory=list)

    def status(self, dag_id: str, run_id: str) -> RunAnswer:
        assert dag_id == DAG
        problem = next(self.status_problems, None)
        if problem is None and run_id not in self.states:
            problem = UNKNOWN
        return run(None if problem else self.states[run_id], problem=problem, run_id=run_id)

    def start(self, dag_id: str, run_id: str, conf: Conf | EventConf, spill_uri: str) -> RunAnswer:
        assert (dag_id, conf, spill_uri) == (DAG, CONF, WORK.spill_uri)
        if self.taken_by_another:
            self.states[run_id] = "running"
            return run(problem=CONFLICT, run_id=run_id)
        if self.start_problem:
            return run(problem=self.start_problem, run_id=run_id)
        self.started.append(run_id)
        self.states[run_id] = "queued"
        return replace(run("queued", run_id=run_id), created=True)


def start(airflow: Airflow, done: bool = True, clock: Clock | None = None) -> RunAnswer:
    return airflow_runs.start_or_join(airflow, WORK, lambda: done, clock or FakeTime().clock())


def test_new_work_gets_its_first_run() -> None:
    answer = start(Airflow())
    assert (answer.run_id, answer.created) == (numbered(1), True)


@pytest.mark.parametrize("state", ["queued", "running", "success"])
def test_a_run_under_way_or_done_is_joined(state: str) -> None:
    airflow = Airflow({numbered(1): state})
    answer = start(airflow)
    assert (answer.run_id, answer.created, answer.state) == (numbered(1), False, state)
    assert not airflow.started


def test_after_failures_the_next_attempt_starts() -> None:
    answer = start(Airflow({numbered(1): "failed", numbered(2): "failed"}))
    assert (answer.run_id, answer.created) == (numbered(3), True)


def test_a_success_whose_result_is_gone_is_done_again() -> None:
    answer = start(Airflow({numbered(1): "success"}), done=False)
    assert (answer.run_id, answer.created) == (numbered(2), True)


def test_work_that_another_pipeline_starts_in_the_same_moment_is_joined() -> None:
    answer = start(Airflow(taken_by_another=True))
    assert (answer.problem, answer.state, answer.created) == (None, "running", False)


def test_a_run_that_another_pipeline_started_is_asked_for_until_airflow_has_time() -> None:
    time = FakeTime()
    airflow = Airflow(taken_by_another=True, status_problems=iter([UNKNOWN, BUSY, DOWN, BUSY]))
    answer = start(airflow, clock=time.clock())
    assert (answer.problem, answer.state, answer.created) == (None, "running", False)
    assert time.pauses == [0.5, 0.5, 1.0]


def test_a_run_of_another_pipeline_that_airflow_never_tells_of_ends_with_its_reason() -> None:
    time = FakeTime()
    airflow = Airflow(taken_by_another=True, status_problems=chain([UNKNOWN], repeat(BUSY)))
    with pytest.raises(TriggerError, match="throttled"):
        start(airflow, clock=time.clock())
    assert airflow_runs.PATIENCE < time.seconds < airflow_runs.PATIENCE + 2 * airflow_runs.LONGEST_PAUSE


def test_a_status_that_does_not_come_is_no_reason_to_give_up() -> None:
    assert start(Airflow(status_problems=iter([BUSY]))).created


def test_airflow_down_is_told_with_cause_and_next_step() -> None:
    with pytest.raises(TriggerError, match="DAG model_training: airflow unavailable") as caught:
        start(Airflow(start_problem=DOWN))
    assert (caught.value.cause, caught.value.next_step) == ("503", "wait")


def test_a_version_that_fails_again_and_again_is_given_up() -> None:
    with pytest.raises(TriggerError, match="50 runs"):
        start(Airflow({numbered(attempt): "failed" for attempt in range(1, 51)}))


@dataclass
class Evidence:
    """S3 with at most a failure.json."""

    failure: Failure | Exception | None = None

    def exists(self, uri: str) -> bool:
        assert uri == "s3://b/e/failure.json"
        return self.failure is not None

    def read_record(self, record: type[Failure], uri: str) -> Failure:
        assert (record, uri) == (Failure, "s3://b/e/failure.json")
        if isinstance(self.failure, Exception):
            raise self.failure
        assert self.failure
        return self.failure


FAILURE = Failure(
    schema_version=1,
    project="web-safety",
    model="phishing-url",
    model_version="1.3.0+retrain.0",
    dag_id=DAG,
    run_id="r",
    task_id="train",
    cause="ValueError: no column 'url'",
    log_url="https://logs.example",
    next_step="Fix the training code.",
)
FAILED = run(
    "failed", task("validate", "success"), task("train", "failed"), task("register", "upstream_failed")
)


def test_a_failed_run_gives_its_real_cause_and_log() -> None:
    error = airflow_runs.run_failed(Evidence(FAILURE), "s3://b/e/", FAILED, "Training")
    assert error.what == "Training failed at train"
    assert (error.cause, error.link) == (FAILURE.cause, FAILURE.log_url)
    assert error.next_step == FAILURE.next_step


@pytest.mark.parametrize("found", [None, replace(FAILURE, run_id="earlier"), ContractError("broken")])
def test_without_a_report_of_this_run_the_tasks_are_named(found: Failure | Exception | None) -> None:
    error = airflow_runs.run_failed(Evidence(found), "s3://b/e/", FAILED, "Training")
    assert error.what == "Training failed at train"
    assert error.link == URL
    assert "column" not in error.cause


STARTED = {"CI_JOB_STARTED_AT": "2026-01-02T03:00:00Z"}
TEN_MINUTES_LATER = datetime(2026, 1, 2, 3, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("asked", "variables", "seconds"),
    [
        ("", {}, 7200 + 3600),
        ("0", {}, 7200 + 3600),
        ("90", {}, 90),
        ("", {"CI_JOB_TIMEOUT": "43200", **STARTED}, 7200 + 3600),
        ("", {"CI_JOB_TIMEOUT": "10800", **STARTED}, 10800 - 600 - 120),
        ("20000", {"CI_JOB_TIMEOUT": "10800", **STARTED}, 10800 - 600 - 120),
        ("", {"CI_JOB_TIMEOUT": "10800", "CI_JOB_STARTED_AT": "today"}, 10800 - 120),
        ("", {"CI_JOB_TIMEOUT": "60", **STARTED}, 0),
    ],
)
def test_a_wait_is_as_long_as_the_run_may_take_and_ends_before_the_job(
    capsys: pytest.CaptureFixture[str], asked: str, variables: dict[str, str], seconds: float
) -> None:
    assert airflow_runs.patience(7200, asked, variables, TEN_MINUTES_LATER) == seconds
    warned = "GitLab ends this job" in capsys.readouterr().err
    assert warned is (seconds not in (90, 7200 + 3600))


def test_a_wait_that_is_no_number_is_named() -> None:
    with pytest.raises(SettingsError, match="not a number of seconds"):
        airflow_runs.patience(7200, "soon", {})
