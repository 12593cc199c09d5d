"""`mlops monitor`."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mlops.base.errors import MonitoringError, RunFailedError, UsageError
from mlops.contracts.evidence import Failure, monitoring_key
from mlops.contracts.runs import Conf, EventConf, MonitoringConf, RunAnswer, RunProblem, RunState, TaskState
from mlops.manifest import reader
from mlops.manifest.reader import Model
from mlops.monitoring import monitor
from mlops.runs.airflow_runs import Clock
from mlops.runs.platform import Platform

from .bucket import NAME, NOW, Bucket
from .test_tasks import CONF, PLAN, capture, rows, run

MANIFEST = """\
project: web
models:
  url:
    training: {channels: {train: data/url/train/}}
    evaluation: {data: data/url/test/, metrics: [{name: f1}]}
    monitoring: {min_rows: 100}
    deployment: {smoke_test: {body: "{}"}}
"""
END = NOW.isoformat()


class Airflow:
    """One run, which ends at once."""

    def __init__(self, ends: RunState = "success") -> None:
        self.ends = ends
        self.started: list[tuple[str, str, Conf | EventConf]] = []

    def start(self, dag_id: str, run_id: str, conf: Conf | EventConf, spill_uri: str) -> RunAnswer:
        assert spill_uri.startswith(f"s3://{NAME}/web/url/")
        self.started.append((dag_id, run_id, conf))
        return RunAnswer(
            dag_id=dag_id, run_id=run_id, created=True, state="queued", run_url="https://airflow"
        )

    def status(self, dag_id: str, run_id: str) -> RunAnswer:
        if not self.started:
            problem = RunProblem(kind="run_not_found", message="-", next_step="-", retryable=False)
            return RunAnswer(dag_id=dag_id, run_id=run_id, problem=problem)
        tasks = (TaskState(task_id="measure", state=self.ends, try_number=1),)
        return RunAnswer(dag_id=dag_id, run_id=run_id, state=self.ends, tasks=tasks)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    (tmp_path / "mlops.yml").write_text(MANIFEST, encoding="utf-8")
    return reader.load(tmp_path / "mlops.yml").model()


@pytest.fixture
def bucket() -> Bucket:
    found = Bucket()
    found.put("data/url/train/a.jsonl", "\n".join(json.dumps(row) for row in rows(1, 1000)))
    return found


def start(model: Model, bucket: Bucket, airflow: Airflow) -> Any:
    clock = Clock(now=lambda: 0.0, sleep=lambda _: None)
    services: dict[str, Any] = {"storage": bucket, "sagemaker": None, "ecr": None, "cloudwatch": None}
    platform = Platform(bucket=NAME, runs=airflow, clock=clock, **services)
    return monitor.monitor(model, END, platform, 60)


def test_it_starts_a_run_and_prints_what_it_found(model: Model, bucket: Bucket) -> None:
    capture(bucket, rows(2, 400, age=90.0))
    run(bucket)
    airflow = Airflow()
    outcome = start(model, bucket, airflow)
    ((dag, run_id, conf),) = airflow.started
    assert dag == "model_monitoring"
    assert len(run_id) <= 33
    assert isinstance(conf, MonitoringConf)
    assert (conf.project, conf.model, conf.window_end) == ("web", "url", END)
    assert "age" in outcome.summary and "DRIFTED" in outcome.summary
    assert f"s3://{NAME}/web/url/{monitoring_key(END)}" in outcome.summary
    assert outcome.data["state"] == "drifted"
    assert outcome.next_steps == ("mlops retrain",)
    assert outcome.exit_code == 0


def test_the_same_window_is_one_run(model: Model, bucket: Bucket) -> None:
    capture(bucket, rows(2, 400))
    run(bucket)
    airflow = Airflow()
    start(model, bucket, airflow)
    start(model, bucket, airflow)
    assert len(airflow.started) == 1


def test_a_failed_run_shows_its_cause(model: Model, bucket: Bucket) -> None:
    airflow = Airflow("failed")

    class Explained(Airflow):
        def start(self, dag_id: str, run_id: str, conf: Conf | EventConf, spill_uri: str) -> RunAnswer:
            failure = Failure(
                schema_version=1,
                project="web",
                model="url",
                model_version="",
                dag_id=dag_id,
                run_id=run_id,
                task_id="measure",
                cause="There is no baseline",
                log_url="https://log",
                next_step="Upload it.",
            )
            bucket.write_record(failure, f"s3://{NAME}/web/url/monitoring/failure.json")
            return super().start(dag_id, run_id, conf, spill_uri)

    with pytest.raises(RunFailedError) as raised:
        start(model, bucket, Explained("failed"))
    assert (raised.value.cause, raised.value.next_step) == ("There is no baseline", "Upload it.")
    with pytest.raises(RunFailedError, match="failed at measure"):
        start(model, Bucket(), airflow)


def test_a_run_that_had_nothing_to_compare_says_so(model: Model, bucket: Bucket) -> None:
    with pytest.raises(MonitoringError, match="nothing to compare"):
        start(model, bucket, Airflow())


def test_a_manifest_without_monitoring_starts_nothing(model: Model, bucket: Bucket) -> None:
    airflow = Airflow()
    with pytest.raises(UsageError, match="not monitored"):
        start(replace(model, monitoring=None), bucket, airflow)
    assert airflow.started == []


def test_the_window_ends_now_or_as_asked() -> None:
    now = datetime(2026, 3, 10, 12, 0, 30, tzinfo=UTC)
    assert monitor.window_end("", now) == "2026-03-10T12:00:31+00:00"
    assert monitor.window_end("2026-03-10T12:00:00+01:00", now) == "2026-03-10T11:00:00+00:00"


@pytest.mark.parametrize("asked", ["tomorrow", "2026-03-10T11:00:00", "2026-03-11T00:00:00Z"])
def test_a_window_end_that_cannot_be_is_refused(asked: str) -> None:
    with pytest.raises(UsageError, match="window-end"):
        monitor.window_end(asked, NOW)


def test_the_plan_of_the_tests_is_this_window() -> None:
    assert (PLAN.conf, CONF.window_end) == (CONF, END)
