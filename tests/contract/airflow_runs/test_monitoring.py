"""The DAG `model_monitoring` in a real Airflow: a model trained and served, and asked what is usual or not.

Its data is that of the example, whose own model is monitored in tests/e2e/test_monitoring.py.
"""

from __future__ import annotations

import csv
import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from .conftest import TRAINING
from .stack import BUCKET, PROJECT, Run, Stack

DATA = Path(__file__).parents[3] / "examples" / "phishing-url" / "data"
MODEL = "phishing"
ENDPOINT = f"{PROJECT}--{MODEL}"
VERSION = "1.0.0+retrain.0"
DAG = "model_monitoring"
ALARM = f"ml-ops-drift-{ENDPOINT}"
PREFIX = f"s3://{BUCKET}/{PROJECT}/{MODEL}/"
MONITORING = {
    "baseline": f"s3://{BUCKET}/data/{MODEL}/train/",
    "window_seconds": 3600,
    "min_rows": 200,
    "ignored_columns": ["is_phishing"],
}
PREDICTED = "age_of_domain"
Rows = list[dict[str, float]]


def conf(end: datetime) -> dict[str, Any]:
    time_text = end.isoformat(timespec="seconds")
    return {
        "schema_version": 1,
        "project": PROJECT,
        "model": MODEL,
        "window_end": time_text,
        "occurrence": {
            "id": time_text,
            "source": "aws.events",
            "detail_type": "Scheduled Event",
            "time": time_text,
        },
    }


@pytest.fixture(scope="module")
def served(stack: Stack) -> Stack:
    """A model in production that keeps all of its requests; it predicts what one column says."""
    s3 = stack.client("s3")
    for channel in ("train", "test"):
        body = (DATA / channel / "websites.csv").read_bytes()
        s3.put_object(Bucket=BUCKET, Key=f"data/{MODEL}/{channel}/train.csv", Body=body)
    stack.client("sagemaker").create_model_package_group(ModelPackageGroupName=ENDPOINT)
    image = stack.push(f"{PROJECT}/{MODEL}")
    evidence = f"{PREFIX}1.0.0_retrain.0/"
    predicted = Counter(str(int(row[PREDICTED])) for row in rows("test"))
    report = {"schema_version": 1, "metrics": {"f1": 0.9}, "predictions": {"labels": predicted}}
    training = stack.training_conf(VERSION, by=PREDICTED, report=json.dumps(report)) | {
        "model": MODEL,
        "image_uri": image,
        "evidence_uri": evidence,
        "monitoring": MONITORING,
    }
    training["deployment"] = settings = stack.deployment() | {
        "endpoint_name": ENDPOINT,
        "smoke_test": {
            "content_type": "application/json",
            "body": json.dumps({"instances": rows("test")[:1]}),
        },
        "data_capture": {"sampling_percent": 100, "destination": f"{PREFIX}capture/"},
    }
    training["training"]["channels"] = {"train": MONITORING["baseline"]}
    training["evaluation"]["data"] = f"s3://{BUCKET}/data/{MODEL}/test/"
    run = stack.run(TRAINING, "monitored", training)
    assert run.state == "success", stack.document(f"{PROJECT}/{MODEL}/1.0.0_retrain.0/failure.json")
    deployment = stack.deployment_conf(VERSION, model=MODEL, evidence_uri=evidence, deployment=settings)
    run = stack.run("model_deployment", "monitored", deployment)
    assert run.state == "success", run.tasks
    return stack


def rows(channel: str) -> Rows:
    with (DATA / channel / "websites.csv").open(newline="") as file:
        found = [{name: float(text) for name, text in row.items()} for row in csv.DictReader(file)]
    for row in found:
        del row["is_phishing"]
    return found


def ask(stack: Stack, asked: Rows) -> int:
    """Send the rows, and return how many requests that took."""
    runtime = stack.client("sagemaker-runtime")
    bodies = [json.dumps({"instances": asked[start : start + 100]}) for start in range(0, len(asked), 100)]
    for body in bodies:
        runtime.invoke_endpoint(EndpointName=ENDPOINT, ContentType="application/json", Body=body)
    return len(bodies)


def kept(stack: Stack) -> int:
    s3 = stack.client("s3")
    listing = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{PROJECT}/{MODEL}/capture/").get("Contents", [])
    texts = [s3.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read() for one in listing]
    return sum(text.count(b"\n") for text in texts)


def monitor(stack: Stack, run_id: str, asked: Rows) -> tuple[Run, Any]:
    """Ask the endpoint, wait until it kept that, and compare the hour that ends now."""
    before = kept(stack)
    wanted = before + ask(stack, asked)
    deadline = time.monotonic() + 60
    while kept(stack) < wanted:
        assert time.monotonic() < deadline, "the endpoint did not keep all of its requests"
        time.sleep(0.2)
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
    run = stack.run(DAG, run_id, conf(end))
    return run, stack.document(f"{PROJECT}/{MODEL}/monitoring/{end:%Y-%m-%dT%H-%M-%SZ}.json")


def metric(stack: Stack, name: str, since: datetime) -> list[float]:
    answer = stack.client("cloudwatch").get_metric_statistics(
        Namespace="ml-ops/models",
        MetricName=name,
        Dimensions=[{"Name": "EndpointName", "Value": ENDPOINT}],
        StartTime=since - timedelta(minutes=5),
        EndTime=since + timedelta(hours=1),
        Period=60,
        Statistics=["Maximum"],
    )
    return [point["Maximum"] for point in answer["Datapoints"]]


def alarm(stack: Stack) -> str:
    """The state of the alarm that Terraform makes for each model."""
    cloudwatch = stack.client("cloudwatch")
    if not cloudwatch.describe_alarms(AlarmNames=[ALARM])["MetricAlarms"]:
        cloudwatch.put_metric_alarm(
            AlarmName=ALARM,
            Namespace="ml-ops/models",
            MetricName="Drift",
            Dimensions=[{"Name": "EndpointName", "Value": ENDPOINT}],
            Statistic="Maximum",
            Period=86400,
            EvaluationPeriods=1,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            Threshold=1,
            TreatMissingData="notBreaching",
        )
    return str(cloudwatch.describe_alarms(AlarmNames=[ALARM])["MetricAlarms"][0]["StateValue"])


def messages(stack: Stack) -> list[dict[str, Any]]:
    return [one for one in stack.inbox() if "drift in" in one["subject"]]


def test_what_is_usual_raises_no_alarm_and_what_is_not_does(served: Stack) -> None:
    began = datetime.now(UTC)
    run, report = monitor(served, "few", rows("test")[:50])
    assert (run.state, report["state"], report["rows"]) == ("success", "too_few_rows", 51)
    assert metric(served, "Drift", began) == []
    assert alarm(served) != "ALARM"
    assert messages(served) == []

    run, report = monitor(served, "usual", rows("test")[50:])
    assert run.state == "success", run.tasks
    assert (report["state"], report["model_version"]) == ("stable", VERSION)
    assert report["rows"] == 376
    assert {column["name"] for column in report["columns"]} == set(rows("test")[0])
    assert report["predictions"]["drifted"] is False
    assert metric(served, "Drift", began) == [0.0]
    assert alarm(served) == "OK"
    assert messages(served) == []
    assert run.tasks["notify_email"] == run.tasks["notify_slack"] == "skipped"

    drifted = [row | {"https": 1.0, "ip_in_url": 1.0} for row in rows("test")] * 4
    run, report = monitor(served, "drifted", drifted)
    assert run.state == "success", run.tasks
    assert report["state"] == "drifted"
    found = {column["name"] for column in report["columns"] if column["drifted"]}
    assert found == {"https", "ip_in_url"}
    assert served.document(f"{PROJECT}/{MODEL}/monitoring/latest.json") == report
    assert max(metric(served, "Drift", began)) == 1.0
    assert max(metric(served, "DriftedFeatures", began)) >= 2.0
    assert alarm(served) == "ALARM"
    told = messages(served)
    assert sorted(one["channel"] for one in told) == ["email", "slack"]
    assert all("ip_in_url" in one["text"] and "DRIFTED" in one["text"] for one in told)

    run, report = monitor(served, "still", [])
    assert (run.state, report["state"]) == ("success", "drifted")
    assert len(messages(served)) == 2, "a drift that lasts is reported once"


def test_a_baseline_that_cannot_be_read_is_told(served: Stack) -> None:
    s3 = served.client("s3")
    key = f"data/{MODEL}/train/train.csv"
    good = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    s3.put_object(Bucket=BUCKET, Key=key, Body=good.partition(b"\n")[2])
    try:
        run, report = monitor(served, "broken", [])
    finally:
        s3.put_object(Bucket=BUCKET, Key=key, Body=good)
    assert (run.state, run.tasks["measure"], report) == ("failed", "failed", None)
    failure = served.document(f"{PROJECT}/{MODEL}/monitoring/failure.json")
    assert "has no header" in failure["cause"]
    told = [one for one in served.inbox() if "has no header" in one["text"]]
    assert sorted(one["channel"] for one in told) == ["email", "slack"]


def test_a_model_that_is_not_monitored_is_left_alone(stack: Stack, trainings: dict[str, Run]) -> None:
    assert trainings["good"].state == "success"
    run = stack.run(DAG, "unmonitored", conf(datetime.now(UTC)) | {"model": "phishing-url"})
    assert run.state == "success"
    assert run.tasks["validate"] == run.tasks["measure"] == "skipped"
