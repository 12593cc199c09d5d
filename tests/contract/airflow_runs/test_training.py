"""The DAG `model_training` in a real Airflow, with jobs that really run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from .conftest import TRAINING, TRAININGS
from .stack import ENDPOINT, MODEL, PROJECT, ROLE, Run, Stack

SHARED = {"notify_email": "success", "notify_slack": "success"}


def evidence(stack: Stack, version: str, name: str) -> Any:
    return stack.document(f"{PROJECT}/{MODEL}/{version.replace('+', '_')}/{name}")


def about(stack: Stack, version: str) -> list[dict[str, Any]]:
    """The messages about a version, in both channels."""
    return [message for message in stack.inbox() if f"{MODEL} {version}:" in message["subject"]]


def test_a_training_leaves_model_and_evidence(stack: Stack, trainings: dict[str, Run]) -> None:
    run = trainings["good"]
    assert run.state == "success"
    assert run.tasks == {
        "validate": "success",
        "train": "success",
        "register": "success",
        "evaluate_challenger": "success",
        "evaluate_champion": "skipped",
        "compare": "success",
        "register_package": "success",
        "done": "success",
        "record_failure": "skipped",
        **SHARED,
    }
    comparison = evidence(stack, "1.0.0+retrain.0", "comparison.json")
    assert (comparison["gate"], comparison["champion"]) == ("passed", None)
    lineage = evidence(stack, "1.0.0+retrain.0", "lineage.json")
    assert (lineage["image_uri"], lineage["dag_run_id"]) == (stack.image, "good")
    sagemaker = stack.client("sagemaker")
    model = sagemaker.describe_model(ModelName=f"{PROJECT}--{MODEL}--1-0-0--r0")
    assert model["PrimaryContainer"]["ModelDataUrl"] == lineage["model_artifact"]
    assert model["ExecutionRoleArn"] == ROLE
    tags = {tag["Key"]: tag["Value"] for tag in sagemaker.list_tags(ResourceArn=model["ModelArn"])["Tags"]}
    assert tags["mlops:model-version"] == "1.0.0+retrain.0"
    assert tags["mlops:image-digest"] == stack.image.partition("@")[2]


def test_a_training_draws_its_evaluation_on_the_dashboard(stack: Stack, trainings: dict[str, Run]) -> None:
    assert trainings["good"].state == "success"
    found = stack.client("cloudwatch").list_metrics(Namespace="ml-ops/models", MetricName="f1")["Metrics"]
    dimensions = [{pair["Name"]: pair["Value"] for pair in metric["Dimensions"]} for metric in found]
    assert {"EndpointName": f"{PROJECT}--{MODEL}", "Role": "challenger"} in dimensions


def test_a_result_is_told_once_in_each_channel(stack: Stack, trainings: dict[str, Run]) -> None:
    assert trainings["good"].state == "success"
    messages = about(stack, "1.0.0+retrain.0")
    trained = [message for message in messages if "trained" in message["subject"]]
    assert sorted(message["channel"] for message in trained) == ["email", "slack"]
    for message in trained:
        assert "f1" in message["text"]
        assert "0.9000" in message["text"]
        assert "https://gitlab.example/p/7" in message["text"]


def test_a_failed_gate_is_a_result_and_no_failed_run(stack: Stack, trainings: dict[str, Run]) -> None:
    assert trainings["bad-gate"].state == "success"
    assert evidence(stack, "2.5.0+retrain.0", "comparison.json")["gate"] == "failed"
    messages = about(stack, "2.5.0+retrain.0")
    assert sorted(message["channel"] for message in messages) == ["email", "slack"]
    assert all("0.3 is below the minimum 0.5" in message["text"] for message in messages)


@pytest.mark.parametrize(
    ("name", "task", "cause"),
    [
        ("crash", "train", "ValueError: column 'age' is missing"),
        ("no-model", "train", "The training wrote no model"),
        ("no-report", "compare", "The challenger's evaluation cannot be read"),
        ("nan", "compare", "holds NaN, which is not a number"),
        ("no-metric", "compare", "has no metric 'f1'"),
    ],
)
def test_a_failure_is_told_once_with_its_real_cause(
    stack: Stack, trainings: dict[str, Run], name: str, task: str, cause: str
) -> None:
    run, version = trainings[name], TRAININGS[name][0]
    assert run.state == "failed"
    assert run.tasks[task] == "failed"
    assert run.tasks | SHARED == run.tasks
    failure = evidence(stack, version, "failure.json")
    assert failure["task_id"] == task
    assert failure["run_id"] == name
    assert cause in failure["cause"]
    assert failure["next_step"]
    assert failure["log_url"].startswith("http")
    assert evidence(stack, version, "comparison.json") is None
    messages = about(stack, version)
    assert sorted(message["channel"] for message in messages) == ["email", "slack"]
    for message in messages:
        assert cause in message["text"]
        assert failure["log_url"] in message["text"].replace("&amp;", "&")
        assert "https://gitlab.example/p/7" in message["text"]


def test_a_job_that_failed_brings_its_last_log_lines(stack: Stack, trainings: dict[str, Run]) -> None:
    assert trainings["crash"].state == "failed"
    failure = evidence(stack, "2.0.0+retrain.0", "failure.json")
    assert "AlgorithmError" in failure["cause"]
    assert "rows 2" in failure["cause"]
    assert "TrainingJobs" in failure["log_url"]


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("unknown-key", "conf has an unknown key 'instance'"),
        ("no-data", "The channel 'train' has no data"),
        ("elsewhere", "evidence_uri is not where this platform keeps"),
        ("forged-pointer", "is not the conf that was sent"),
    ],
)
def test_a_conf_that_cannot_run_rents_no_machine(
    stack: Stack, trainings: dict[str, Run], name: str, cause: str
) -> None:
    run = trainings[name]
    assert run.state == "failed"
    assert run.tasks["validate"] == "failed"
    assert run.tasks["train"] == "upstream_failed"
    assert run.tasks | SHARED == run.tasks
    told = [message for message in stack.inbox() if cause in message["text"]]
    assert sorted(message["channel"] for message in told) == ["email", "slack"]


def test_a_large_conf_is_fetched_from_where_it_points(stack: Stack, trainings: dict[str, Run]) -> None:
    assert trainings["pointer"].state == "success"
    assert evidence(stack, "3.3.0-mr4.2+retrain.0", "lineage.json")["dag_run_id"] == "pointer"


def test_a_merge_request_s_version_is_not_registered(stack: Stack, trainings: dict[str, Run]) -> None:
    assert trainings["pointer"].tasks["register_package"] == "success"
    sagemaker = stack.client("sagemaker")
    found = sagemaker.list_model_packages(ModelPackageGroupName=ENDPOINT, MaxResults=100)
    packages = [
        sagemaker.describe_model_package(ModelPackageName=one["ModelPackageArn"])
        for one in found["ModelPackageSummaryList"]
    ]
    versions = {one["CustomerMetadataProperties"]["mlops:model-version"] for one in packages}
    assert "1.0.0+retrain.0" in versions
    assert "3.3.0-mr4.2+retrain.0" not in versions


def test_a_retry_repairs_what_a_failed_run_left(stack: Stack, trainings: dict[str, Run]) -> None:
    assert trainings["no-report"].state == "failed"
    run = stack.run(TRAINING, "no-report-2", stack.training_conf("2.2.0+retrain.0", f1="0.99"))
    assert run.state == "success", run.tasks
    assert evidence(stack, "2.2.0+retrain.0", "comparison.json")["gate"] == "passed"
    assert evidence(stack, "2.2.0+retrain.0", "failure.json") is None
    lineage = evidence(stack, "2.2.0+retrain.0", "lineage.json")
    model = stack.client("sagemaker").describe_model(ModelName=f"{PROJECT}--{MODEL}--2-2-0--r0")
    assert model["PrimaryContainer"]["ModelDataUrl"] == lineage["model_artifact"]


def test_a_deferred_training_ends_the_same_way(stack: Stack, trainings: dict[str, Run]) -> None:
    assert trainings["deferring"].tasks["train"] == "success"
    assert "Pausing task as DEFERRED" in stack.log("deferring_training", "deferring", "train")
    assert "Pausing task as DEFERRED" not in stack.log(TRAINING, "good", "train")


def _title(process: psutil.Process) -> str:
    """The first word of its command line; empty when it ended while we looked."""
    try:
        return next(iter(process.cmdline()), "")
    except psutil.Error:
        return ""


def _job(stack: Stack, version: str) -> dict[str, Any]:
    """The training job of a version, once it is there; it is the only one."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        named = stack.client("sagemaker").list_training_jobs(
            NameContains=version.partition("+")[0].replace(".", "-")
        )
        if named["TrainingJobSummaries"]:
            (job,) = named["TrainingJobSummaries"]
            return dict(job)
        time.sleep(0.2)
    raise AssertionError(f"there is no training job of {version}")


def test_a_lost_worker_loses_no_job(stack: Stack, tmp_path: Path) -> None:
    version, go = "5.0.0+retrain.0", tmp_path / "go"
    stack.trigger(TRAINING, "lost", stack.training_conf(version, f1="0.9", until=str(go)))
    job = _job(stack, version)
    path = f"/dags/{TRAINING}/dagRuns/lost/taskInstances/train"
    identity = stack.call("GET", path)[1]["id"]
    task = next(
        one
        for one in psutil.Process(stack.airflow_pid).children(recursive=True)
        if _title(one) == f"airflow worker -- {identity}"
    )
    task.kill()
    deadline = time.monotonic() + 60
    while (again := stack.call("GET", path)[1])["try_number"] < 2 or again["state"] != "running":
        assert time.monotonic() < deadline, again
        time.sleep(0.2)
    go.touch()
    run = stack.wait(TRAINING, "lost")
    assert run.state == "success", run.tasks
    assert _job(stack, version)["TrainingJobName"] == job["TrainingJobName"]
    assert [message["channel"] for message in about(stack, version)] in (
        ["email", "slack"],
        ["slack", "email"],
    )


def test_a_task_that_a_person_ends_ends_its_job(stack: Stack) -> None:
    version = "5.1.0+retrain.0"
    stack.trigger(TRAINING, "ended", stack.training_conf(version, f1="0.9", do="hang"))
    _job(stack, version)
    path = f"/dags/{TRAINING}/dagRuns/ended/taskInstances/train"
    status, answer = stack.call("PATCH", path, {"new_state": "failed"})
    assert status == 200, answer
    run = stack.wait(TRAINING, "ended")
    assert run.state == "failed"
    assert _job(stack, version)["TrainingJobStatus"] in {"Stopping", "Stopped"}
    failure = evidence(stack, version, "failure.json")
    assert failure["task_id"] == "train"
    assert sorted(message["channel"] for message in about(stack, version)) == ["email", "slack"]


def test_a_run_that_takes_too_long_is_told(stack: Stack) -> None:
    version = "6.0.0+retrain.0"
    conf = stack.training_conf(version, f1="0.9", do="hang")
    run = stack.run("short_training", "short", conf)
    assert run.state == "failed"
    deadline = time.monotonic() + 60
    while len(about(stack, version)) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert sorted(message["channel"] for message in about(stack, version)) == ["email", "slack"]
    failure = evidence(stack, version, "failure.json")
    assert "took longer than 0:00:06" in failure["cause"]


def test_a_channel_the_model_turned_off_stays_silent(stack: Stack, trainings: dict[str, Run]) -> None:
    run = trainings["quiet"]
    assert (run.state, run.tasks["notify_slack"], run.tasks["notify_email"]) == (
        "success",
        "skipped",
        "success",
    )
    # The deployment that test_deployment.py asks of this version speaks in both channels.
    told = [one for one in about(stack, "7.0.0+retrain.0") if "deploy" not in one["subject"]]
    assert [(one["channel"], "trained" in one["subject"]) for one in told] == [("email", True)]


def test_a_slack_outage_does_not_undo_a_training(stack: Stack) -> None:
    version = "8.2.0+retrain.0"
    stack.faults({"status": 500, "count": 1000})
    try:
        run = stack.run(TRAINING, "slack-down", stack.training_conf(version, f1="0.9"))
    finally:
        stack.faults({"status": 500, "count": 0})
    assert (run.state, run.tasks["notify_slack"], run.tasks["notify_email"]) == (
        "success",
        "failed",
        "success",
    )
    assert "The result of the run stands" in stack.log(TRAINING, "slack-down", "notify_slack", 2)
    assert evidence(stack, version, "comparison.json")["gate"] == "passed"
