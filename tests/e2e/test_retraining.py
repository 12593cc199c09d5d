"""Two scheduled pipelines and one push at once on the same model, on the stack that the demo left."""

from __future__ import annotations

import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from mlops_local.airflow.environment import log_in
from mlops_local.command.run import push, upload_data
from mlops_local.pipelines import pipeline
from mlops_local.pipelines.pipeline import PipelineRun
from mlops_local.pipelines.variables import PipelineTrigger
from mlops_local.stack import sdk
from mlops_local.stack.stack import Stack
from tests.e2e.conftest import LITTLE_CHECKED, Demo, change, commit, repository

MODEL = "web-safety/phishing-url"
TRAINING = "model_training"
RULES = "    retraining: {max_age: 30d, min_interval: 1m}\n"


@dataclass(frozen=True)
class AtOnce:
    """What the three came to."""

    stack: Stack
    schedules: tuple[PipelineRun, PipelineRun]
    pushed: PipelineRun
    trainings: list[dict[str, Any]]
    """All trainings of the model that ended while the test looked, the oldest first."""


def airflow(stack: Stack, path: str) -> Any:
    token = log_in(stack.airflow_url, stack.airflow_passwords)
    with urlopen(
        Request(f"{stack.airflow_url}/api/v2{path}", headers={"Authorization": f"Bearer {token}"})
    ) as answer:
        return json.load(answer)


def trainings(stack: Stack) -> list[dict[str, Any]]:
    runs = airflow(stack, f"/dags/{TRAINING}/dagRuns?limit=100&order_by=run_after")["dag_runs"]
    return [run for run in runs if run["conf"].get("model") == "phishing-url"]


def settled(stack: Stack) -> list[dict[str, Any]]:
    """All trainings, once none is under way."""
    for _ in range(300):
        runs = trainings(stack)
        if all(run["state"] in {"success", "failed"} for run in runs):
            return runs
        time.sleep(1)
    raise AssertionError(runs)


def age(stack: Stack) -> float:
    """Of the newest model, in seconds."""
    newest = sdk.client(stack, "sagemaker").list_models(
        NameContains="web-safety--phishing-url--", SortBy="CreationTime", SortOrder="Descending", MaxResults=1
    )
    return time.time() - float(newest["Models"][0]["CreationTime"].timestamp())


def run_at_once(stack: Stack, folder: Path) -> AtOnce:
    """On the models that are there: new data, two schedules, and a push of better code."""
    phishing = repository("phishing-url", folder, LITTLE_CHECKED)
    upload_data(stack, phishing)
    change(phishing / "mlops.yml", "    deployment:\n", f"{RULES}    deployment:\n")
    commit(phishing, "feat: look whether it is due every day")
    project, released = push(stack, phishing)
    s3, bucket = sdk.client(stack, "s3"), stack.outputs["bucket"]
    key = "data/phishing-url/train/websites.csv"
    s3.copy_object(
        Bucket=bucket, Key=key.replace("websites", "more"), CopySource={"Bucket": bucket, "Key": key}
    )
    time.sleep(max(0.0, 61 - age(stack)))

    def scheduled() -> PipelineRun:
        return pipeline.run(stack, project, released, PipelineTrigger(kind="schedule"), echo=lambda _: None)

    def pushed() -> PipelineRun:
        program = phishing / "phishing_url" / "train.py"
        program.write_text(f"# A better one.\n{program.read_text(encoding='utf-8')}", encoding="utf-8")
        commit(phishing, "feat: train better")
        return pipeline.run(stack, *push(stack, phishing), echo=lambda _: None)

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(scheduled), pool.submit(scheduled), pool.submit(pushed)]
        one, two, three = (future.result() for future in futures)
    return AtOnce(stack, (one, two), three, settled(stack))


@pytest.fixture(scope="module")
def at_once(in_processes: Demo, tmp_path_factory: pytest.TempPathFactory) -> AtOnce:
    return run_at_once(in_processes.stack, tmp_path_factory.mktemp("at-once"))


def decisions(done: PipelineRun) -> dict[str, Any]:
    text = (done.job("retrain").artifacts / "retraining.json").read_text(encoding="utf-8")
    (line,) = json.loads(text)
    assert isinstance(line, dict)
    return line


def test_schedules_run_retrain_and_nothing_else(at_once: AtOnce) -> None:
    for done in at_once.schedules:
        assert {job.name: job.state for job in done.jobs} == {"retrain": "success", "notify": "skipped"}
        table = (done.job("retrain").artifacts / "retraining.md").read_text(encoding="utf-8")
        assert table.startswith("| model")
    assert at_once.pushed.succeeded


def test_every_version_is_trained_once_whoever_asked(at_once: AtOnce) -> None:
    versions = Counter(run["conf"]["model_version"] for run in at_once.trainings if run["state"] == "success")
    assert set(versions.values()) == {1}
    wanted = {line["model_version"] for line in map(decisions, at_once.schedules) if line["due"]}
    wanted |= {at_once.pushed.variables["MODEL_VERSION"]}
    assert wanted <= set(versions)


def test_the_schedules_meet_in_one_run(at_once: AtOnce) -> None:
    lines = [decisions(done) for done in at_once.schedules]
    # A schedule that looked after the push had released sees a newer image, and joins the push's own training.
    for line in lines:
        assert line["due"] and line["reason"] in {"new data", "newer image", "not evaluated"}
    runs = {line["model_version"]: line["run_id"] for line in lines}
    assert {(line["model_version"], line["run_id"]) for line in lines} == set(runs.items())


def test_each_has_evidence_of_its_own(at_once: AtOnce) -> None:
    s3, bucket = sdk.client(at_once.stack, "s3"), at_once.stack.outputs["bucket"]
    for run in at_once.trainings:
        if run["state"] != "success":
            continue
        version = run["conf"]["model_version"]
        key = f"{MODEL}/{version.replace('+', '_')}/lineage.json"
        lineage = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        assert (lineage["model_version"], lineage["dag_run_id"]) == (version, run["dag_run_id"])
    recipe = json.loads(s3.get_object(Bucket=bucket, Key=f"{MODEL}/recipe.json")["Body"].read())
    newest = at_once.pushed.variables["IMAGE_VERSION"]
    assert recipe["image_version"] == newest


def test_the_next_schedule_has_nothing_to_do(at_once: AtOnce) -> None:
    done = pipeline.run(
        at_once.stack,
        at_once.pushed.project,
        at_once.pushed.commit,
        PipelineTrigger(kind="schedule"),
        echo=lambda _: None,
    )
    line = decisions(done)
    # The push's training saw all data there is; a retraining of the older image is not a reason for more.
    assert (line["due"], line["image_version"]) == (False, at_once.pushed.variables["IMAGE_VERSION"])
