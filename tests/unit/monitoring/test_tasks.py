"""What the tasks of model_monitoring do."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mlops.base.errors import ContractError, MonitoringError
from mlops.contracts.evidence import DriftReport, EvaluationReport, Predictions, Recipe
from mlops.contracts.platform_settings import PlatformSettings
from mlops.contracts.runs import (
    Evaluation,
    Metric,
    Monitoring,
    MonitoringConf,
    Notifications,
    Occurrence,
    Retraining,
    Training,
)
from mlops.monitoring import tasks
from mlops.monitoring.tasks import MonitoringPlan, conclude, measure, prepare
from mlops.notifications.messages import drift_found, drift_table

from .bucket import NAME, NOW, Bucket, event

VERSION = "1.3.0+retrain.0"
MONITORING = Monitoring(
    baseline=f"s3://{NAME}/data/url/train/", window_seconds=86400, min_rows=100, ignored_columns=("label",)
)
SETTINGS = PlatformSettings(
    environment="test",
    region="eu-west-1",
    bucket=NAME,
    execution_role_arn="arn:aws:iam::123456789012:role/sagemaker",
    topic_arn="arn:aws:sns:eu-west-1:123456789012:ml-ops",
    trigger_function="ml-ops-dag-trigger",
    airflow_environment="ml-ops",
    slack_secret="airflow/connections/slack",
    log_group_url="https://logs.example/{group}/{stream}",
)
CONF = MonitoringConf(
    schema_version=1,
    project="web",
    model="url",
    window_end=NOW.isoformat(),
    occurrence=Occurrence(id="1", source="aws.events", detail_type="Scheduled Event", time=NOW.isoformat()),
)
PLAN = MonitoringPlan(
    conf=CONF,
    settings=SETTINGS,
    run_id="run-1",
    notifications=Notifications(),
    monitoring=MONITORING,
    model_version=VERSION,
    window_start=(NOW - timedelta(days=1)).isoformat(),
)


def rows(seed: int, count: int, **changed: Any) -> list[dict[str, Any]]:
    chance = random.Random(seed)  # noqa: S311  # data, no secret
    return [{"age": chance.gauss(40, 10), "city": chance.choice("abc"), **changed} for _ in range(count)]


@pytest.fixture
def bucket() -> Bucket:
    """Training data and an evaluation."""
    found = Bucket()
    lines = [json.dumps({**row, "label": "x"}) for row in rows(1, 1000)]
    found.put("data/url/train/a.jsonl", "\n".join(lines))
    report = EvaluationReport(
        schema_version=1, metrics={"f1": 0.9}, predictions=Predictions(labels={"yes": 300, "no": 700})
    )
    found.write_record(report, f"s3://{NAME}/web/url/1.3.0_retrain.0/challenger/evaluation.json")
    return found


def capture(bucket: Bucket, asked: list[dict[str, Any]], label: str = "", name: str = "a") -> None:
    chance = random.Random(9)  # noqa: S311  # data, no secret
    lines = []
    for row in asked:
        said = label or ("yes" if chance.random() < 0.3 else "no")
        answer = {"predictions": [{"label": said}], "model": {"version": VERSION}}
        lines.append(event({"instances": [row]}, answer, time=NOW - timedelta(minutes=5)))
    bucket.put(f"web/url/capture/web--url/AllTraffic/2026/03/10/11/55-00-000-{name}.jsonl", "".join(lines))


def run(bucket: Bucket, plan: MonitoringPlan = PLAN) -> tuple[DriftReport, bool]:
    report, news = measure(plan, bucket, NOW.isoformat())  # type: ignore[arg-type]
    conclude(plan, report, bucket)  # type: ignore[arg-type]
    return report, news


def test_a_usual_window_is_stable(bucket: Bucket) -> None:
    capture(bucket, rows(2, 400))
    report, news = run(bucket)
    assert (report.state, report.rows, report.baseline_rows, news) == ("stable", 400, 1000, False)
    assert {column.name for column in report.columns} == {"age", "city"}
    assert report.predictions is not None and not report.predictions.drifted
    written = bucket.read_record(DriftReport, f"s3://{NAME}/web/url/monitoring/2026-03-10T12-00-00Z.json")
    assert written == report
    assert bucket.read_record(DriftReport, f"s3://{NAME}/web/url/monitoring/latest.json") == report


def test_a_drift_is_news_once(bucket: Bucket) -> None:
    capture(bucket, rows(2, 400, age=90.0))
    report, news = run(bucket)
    assert (report.state, news) == ("drifted", True)
    assert [column.name for column in report.drifted()] == ["age"]
    later = replace(PLAN, conf=replace(CONF, window_end=(NOW + timedelta(hours=1)).isoformat()))
    assert run(bucket, later)[1] is False
    capture(bucket, rows(3, 800, city="z"), name="b")
    report, news = run(bucket, later)
    assert news, "another column"
    assert {column.name for column in report.drifted()} == {"age", "city"}


def test_a_retry_before_the_end_tells_again(bucket: Bucket) -> None:
    capture(bucket, rows(2, 400, age=90.0))
    assert measure(PLAN, bucket, NOW.isoformat())[1]  # type: ignore[arg-type]
    assert measure(PLAN, bucket, NOW.isoformat())[1]  # type: ignore[arg-type]


def test_a_late_run_of_an_older_window_does_not_replace_the_newest(bucket: Bucket) -> None:
    capture(bucket, rows(2, 400))
    newest, _ = run(bucket)
    older = replace(PLAN, conf=replace(CONF, window_end=(NOW - timedelta(hours=2)).isoformat()))
    run(bucket, older)
    assert bucket.read_record(DriftReport, f"s3://{NAME}/web/url/monitoring/latest.json") == newest


def test_too_few_rows_conclude_nothing(bucket: Bucket) -> None:
    capture(bucket, rows(2, 50, age=90.0))
    report, news = run(bucket)
    assert (report.state, report.columns, news) == ("too_few_rows", (), False)
    assert "below 100 nothing is concluded" in report.notes[0]


def test_a_quiet_window_changes_nothing_that_was_concluded(bucket: Bucket) -> None:
    capture(bucket, rows(2, 400))
    run(bucket)
    quiet = replace(PLAN, monitoring=replace(MONITORING, min_rows=1000))
    ends = [replace(CONF, window_end=(NOW + timedelta(hours=hours)).isoformat()) for hours in range(1, 5)]
    assert run(bucket, replace(quiet, conf=ends[0]))[0].state == "too_few_rows"
    capture(bucket, [{"age": row["age"]} for row in rows(3, 400)])
    report, news = run(bucket, replace(PLAN, conf=ends[1]))
    assert ([column.name for column in report.drifted()], news) == (["city"], True)
    assert run(bucket, replace(quiet, conf=ends[2]))[0].state == "too_few_rows"
    report, news = run(bucket, replace(PLAN, conf=ends[3]))
    assert ([column.name for column in report.drifted()], news) == (["city"], False)


def test_an_endpoint_that_nobody_asks_is_no_failure(bucket: Bucket) -> None:
    report, _ = run(bucket)
    assert (report.state, report.rows) == ("too_few_rows", 0)


def test_predictions_drift_while_the_requests_do_not(bucket: Bucket) -> None:
    capture(bucket, rows(2, 400), label="yes")
    report, news = run(bucket)
    assert [column.name for column in report.drifted()] == ["(prediction)"]
    assert news


def test_without_an_evaluation_the_requests_are_compared_alone(bucket: Bucket) -> None:
    del bucket.objects["web/url/1.3.0_retrain.0/challenger/evaluation.json"]
    capture(bucket, rows(2, 400))
    report, _ = run(bucket)
    assert (report.state, report.predictions) == ("stable", None)
    assert any("Predictions were not compared" in note for note in report.notes)


def test_a_column_that_vanished_is_drift_and_the_label_is_not(bucket: Bucket) -> None:
    capture(bucket, rows(2, 400))
    report, _ = run(bucket, replace(PLAN, monitoring=replace(MONITORING, ignored_columns=())))
    assert report.state == "stable"
    assert "No request has: label." in report.notes
    without = [{"age": row["age"]} for row in rows(3, 400)]
    capture(bucket, without)
    later = replace(PLAN, conf=replace(CONF, window_end=(NOW + timedelta(hours=1)).isoformat()))
    report, news = run(bucket, later)
    assert [column.name for column in report.drifted()] == ["city"]
    assert "no request has this column any more" in report.columns[0].reason
    assert news
    other = replace(later, model_version="1.4.0+retrain.0")
    assert run(bucket, other)[0].state == "stable", "another version may have other columns"


def test_a_column_that_training_never_saw_is_noted(bucket: Bucket) -> None:
    capture(bucket, rows(2, 400, campaign="spring"))
    report, _ = run(bucket)
    assert report.state == "stable"
    assert "Training never saw these columns of requests: campaign." in report.notes


def test_a_callers_names_of_columns_can_be_printed(bucket: Bucket) -> None:
    capture(bucket, rows(2, 400, **{"\x00\ud800": 1, "größe": 2}))
    report, _ = run(bucket)
    (note,) = [note for note in report.notes if note.startswith("Training never saw")]
    assert note.endswith(r"'\x00\ud800', größe.")


def test_requests_that_nobody_can_read_are_a_failure(bucket: Bucket) -> None:
    line = event("\x00\x01", time=NOW - timedelta(minutes=5), content_type="application/x-protobuf")
    bucket.put("web/url/capture/web--url/AllTraffic/2026/03/10/11/00-00-000-a.jsonl", line)
    with pytest.raises(MonitoringError, match="None of 1 captured requests can be read"):
        run(bucket)


def test_rows_that_fit_no_column_are_a_failure_that_names_the_columns(bucket: Bucket) -> None:
    line = event([[1, 2, 3]], time=NOW - timedelta(minutes=5))
    bucket.put("web/url/capture/web--url/AllTraffic/2026/03/10/11/00-00-000-a.jsonl", line)
    with pytest.raises(MonitoringError) as raised:
        run(bucket)
    assert "2 columns that are not ignored: age, city" in raised.value.cause


def test_a_broken_report_of_before_is_no_obstacle(bucket: Bucket) -> None:
    bucket.put("web/url/monitoring/latest.json", '{"half": ')
    capture(bucket, rows(2, 400))
    assert run(bucket)[0].state == "stable"


@pytest.mark.parametrize("text", ["yesterday", "2026-03-10T12:00:00"])
def test_a_window_without_a_clear_end_is_refused(text: str) -> None:
    with pytest.raises(ContractError, match=r"window_end"):
        tasks.moment(text, "conf.window_end")


def test_the_message_and_the_table_say_what_drifted(bucket: Bucket) -> None:
    capture(bucket, rows(2, 400, age=90.0))
    report, _ = run(bucket)
    message = drift_found(report)
    assert message.subject == "url 1.3.0+retrain.0: drift in age"
    assert "other numbers than in training" in message.body
    table = drift_table(report)
    assert table.splitlines()[1].startswith("age")
    assert table.splitlines()[1].endswith("DRIFTED")
    assert table.endswith("drifted: 400 rows")


class Parameters:
    """SSM with our settings."""

    def get_parameter(self, **_: Any) -> Any:
        from mlops.base.strict_json import dumps

        return {"Parameter": {"Value": dumps(SETTINGS)}}


class SageMaker:
    """One endpoint, or none."""

    def __init__(self, *, deployed: bool = True, captures: bool = True) -> None:
        self.deployed = deployed
        self.captures = captures

    def describe_endpoint(self, **_: Any) -> Any:
        if not self.deployed:
            error: Any = {"Error": {"Code": "ValidationException", "Message": "Could not find endpoint"}}
            raise ClientError(error, "DescribeEndpoint")
        return {"EndpointStatus": "InService", "EndpointConfigName": "web--url--1-3-0--r0"}

    def describe_endpoint_config(self, **_: Any) -> Any:
        capture = {"DataCaptureConfig": {"EnableCapture": True}} if self.captures else {}
        return {"ProductionVariants": [{"ModelName": "web--url--1-3-0--r0"}], **capture}

    def describe_model(self, **_: Any) -> Any:
        return {"PrimaryContainer": {"Image": "i", "ModelDataUrl": "s3://b/m"}}


def recipe(monitoring: Monitoring | None) -> Recipe:
    return Recipe(
        schema_version=1,
        project="web",
        model="url",
        model_version=VERSION,
        image_version="1.3.0",
        image_uri="r/web/url@sha256:" + "a" * 64,
        training=Training(
            channels={"train": MONITORING.baseline},
            instance_type="ml.m5.large",
            instance_count=1,
            volume_gb=1,
            max_runtime_seconds=60,
            spot=False,
            max_wait_seconds=60,
        ),
        evaluation=Evaluation(
            data="s3://b/t/",
            instance_type="ml.m5.large",
            volume_gb=1,
            max_runtime_seconds=60,
            metrics=(Metric(name="f1", goal="maximize"),),
        ),
        retraining=Retraining(),
        notifications=Notifications(slack=False),
        monitoring=monitoring,
        created_at=NOW.isoformat(),
    )


def prepared(
    bucket: Bucket, sagemaker: SageMaker, window_end: str = "2026-03-10T13:00:00+01:00"
) -> MonitoringPlan:
    conf = {
        "schema_version": 1,
        "project": "web",
        "model": "url",
        "window_end": window_end,
        "occurrence": {"id": "1", "source": "s", "detail_type": "d", "time": "t"},
    }
    return prepare(conf, "run-1", ssm=Parameters(), storage=bucket, sagemaker=sagemaker)  # type: ignore[arg-type]


def test_a_window_of_the_future_is_refused_and_hides_no_report(bucket: Bucket) -> None:
    with pytest.raises(ContractError, match="lies in the future"):
        prepared(bucket, SageMaker(), "2099-01-01T00:00:00Z")
    capture(bucket, rows(2, 400))
    future = replace(PLAN, conf=replace(CONF, window_end="2099-01-01T00:00:00+00:00"))
    run(bucket, future)
    report, _ = run(bucket)
    assert bucket.read_record(DriftReport, f"s3://{NAME}/web/url/monitoring/latest.json") == report


def test_the_plan_holds_window_and_version(bucket: Bucket) -> None:
    bucket.write_record(recipe(MONITORING), f"s3://{NAME}/web/url/recipe.json")
    plan = prepared(bucket, SageMaker())
    assert (plan.skip, plan.model_version) == ("", VERSION)
    assert plan.window_start == (NOW - timedelta(days=1)).isoformat()
    assert plan.notifications == Notifications(slack=False)


@pytest.mark.parametrize(
    ("monitoring", "sagemaker", "why"),
    [
        (None, SageMaker(), "no section `monitoring`"),
        (MONITORING, SageMaker(deployed=False), "nothing is in production"),
        (MONITORING, SageMaker(captures=False), "keeps no requests"),
    ],
)
def test_what_is_not_monitored_is_skipped_and_says_why(
    bucket: Bucket, monitoring: Monitoring | None, sagemaker: SageMaker, why: str
) -> None:
    bucket.write_record(recipe(monitoring), f"s3://{NAME}/web/url/recipe.json")
    assert why in prepared(bucket, sagemaker).skip


def test_a_model_without_a_release_is_skipped(bucket: Bucket) -> None:
    assert "no release" in prepared(bucket, SageMaker()).skip
