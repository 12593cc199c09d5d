"""Whatever is killed, after the retry there is one run, one model version and one notification in each channel."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from mlops.contracts.runs import TRAINING_DAG
from tests.contract.airflow_runs.stack import Stack

from .conftest import Repository, below, eventually, kill, scheduler, trainings, workers

TRAINED = [("email", "trained, gate passed"), ("slack", "trained, gate passed")]


def assert_one_of_each(repository: Repository) -> None:
    assert [run["state"] for run in repository.runs()] == ["success"]
    assert repository.jobs() == ["Completed"]
    assert len(repository.models()) == 1
    assert repository.told() == TRAINED


def test_the_ci_jobs_train_and_evaluate(repository: Callable[..., Repository]) -> None:
    pipeline = repository("1.0.0")
    train = pipeline.start("train")
    eventually(pipeline.runs)  # Airflow has the run, and the job has no answer yet
    train.kill()
    assert train.wait() != 0
    assert "joined" in pipeline.run("train")
    evaluate = pipeline.start("evaluate")
    assert evaluate.stdout is not None
    assert evaluate.stdout.readline()
    evaluate.kill()
    evaluate.wait()
    assert "gate passed" in pipeline.run("evaluate").lower().replace("**", "")
    assert_one_of_each(pipeline)


def test_the_lambda_after_airflow_accepted(repository: Callable[..., Repository]) -> None:
    pipeline = repository("2.0.0")
    output = pipeline.run("train")
    assert (pipeline.stack.home / "fates" / "2.0.0").exists()
    assert "joined" in output
    assert pipeline.wait() == "success"
    assert_one_of_each(pipeline)


@pytest.mark.parametrize(("version", "with_workers"), [("3.0.0", False), ("3.1.0", True)])
def test_the_scheduler_in_the_middle_of_a_dag(
    repository: Callable[..., Repository], go: Path, version: str, with_workers: bool
) -> None:
    pipeline = repository(version, until=str(go))
    pipeline.run("train")
    eventually(lambda: trainings(pipeline.stack))
    old = scheduler(pipeline.stack)
    lost = below(old) if with_workers else []
    kill([old, *lost])
    old.wait(10)
    assert scheduler(pipeline.stack).pid != old.pid
    # The task is taken over, and does not train again.
    path = f"/dags/{TRAINING_DAG}/dagRuns/{pipeline.runs()[0]['dag_run_id']}/taskInstances/train"
    eventually(lambda: _is_second_try(pipeline.stack.call("GET", path)[1]))
    go.touch()
    assert pipeline.wait() == "success"
    assert_one_of_each(pipeline)


def test_the_training_process(repository: Callable[..., Repository], go: Path) -> None:
    pipeline = repository("4.0.0", until=str(go))
    pipeline.run("train")
    kill(eventually(lambda: trainings(pipeline.stack)))
    go.touch()
    output = pipeline.run("evaluate", code=31)
    assert "AlgorithmError" in output
    failed = "model_training FAILED at train"
    eventually(lambda: len(pipeline.told()) == 2)
    assert pipeline.told() == [("email", failed), ("slack", failed)]
    assert "reported already" in pipeline.run("notify")
    pipeline.variables.clear()
    pipeline.run("train")  # a person retries it
    pipeline.run("evaluate")
    assert [run["state"] for run in pipeline.runs()] == ["failed", "success"]
    assert sorted(pipeline.jobs()) == ["Completed", "Failed"]
    assert len(pipeline.models()) == 1
    assert [one for one in pipeline.told() if one in TRAINED] == TRAINED
    assert len(pipeline.told()) == 4


def test_the_worker_that_tells(repository: Callable[..., Repository]) -> None:
    pipeline = repository("5.0.0")
    pipeline.stack.faults({"status": 429, "count": 1, "retry_after": 4})
    pipeline.run("train")
    (run,) = pipeline.runs()
    path = f"/dags/{TRAINING_DAG}/dagRuns/{run['dag_run_id']}/taskInstances"
    identity = eventually(
        lambda: _while_running(pipeline.stack.call("GET", f"{path}/notify_slack")[1]), seconds=150
    )
    time.sleep(1)  # Slack has refused the first request by now
    kill(workers(pipeline.stack, identity))
    assert pipeline.wait() == "success"
    assert_one_of_each(pipeline)
    # and as if the worker had been lost right after it told
    body = {"dry_run": False, "task_ids": ["notify_email", "notify_slack"], "dag_run_id": run["dag_run_id"]}
    status, answer = pipeline.stack.call(
        "POST", f"/dags/{TRAINING_DAG}/clearTaskInstances", body | {"only_failed": False}
    )
    assert status == 200, answer
    again = pipeline.stack.wait(TRAINING_DAG, run["dag_run_id"])
    assert [again.tasks[f"notify_{way}"] for way in ("email", "slack")] == ["skipped", "skipped"]
    assert_one_of_each(pipeline)


def test_without_its_web_server_all_of_airflow_ends(stack: Stack) -> None:
    # Airflow does not come back, so this is the last test here. The web server is the first that is started.
    min(psutil.Process(stack.airflow_pid).children(), key=lambda child: child.pid).kill()
    assert "api-server ended with exit code -9" in stack.wait_for_airflows_end()
    assert stack.remains() == []


def _while_running(task: dict[str, str]) -> str:
    return task["id"] if task.get("state") == "running" else ""


def _is_second_try(task: dict[str, Any]) -> bool:
    return bool(task["try_number"] == 2 and task["state"] == "running")
