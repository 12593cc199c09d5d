"""What the demo's endpoint is asked, compared by hand: `mlops monitor`, the Lambda, Airflow, the alarm and what hears it."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.request import Request, urlopen

import pytest

from mlops_local.airflow.environment import log_in
from mlops_local.base import paths
from mlops_local.stack import sdk
from mlops_local.stack.stack import Stack
from tests.e2e.conftest import Demo, mlops

EXAMPLE = paths.checkout() / "examples" / "phishing-url"
ENDPOINT = "web-safety--phishing-url"
PREFIX = "web-safety/phishing-url"
Rows = list[dict[str, float]]


def rows() -> Rows:
    with (EXAMPLE / "data" / "test" / "websites.csv").open(newline="", encoding="utf-8") as file:
        found = [{name: float(text) for name, text in row.items()} for row in csv.DictReader(file)]
    for row in found:
        del row["is_phishing"]
    return found


def wait_for(look: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.3)
    raise AssertionError(f"{what} did not come to pass")


def ask(stack: Stack, asked: Rows) -> None:
    """One request, and wait until it is kept."""
    s3, bucket = sdk.client(stack, "s3"), stack.outputs["bucket"]

    def kept() -> int:
        return len(s3.list_objects_v2(Bucket=bucket, Prefix=f"{PREFIX}/capture/").get("Contents", []))

    before = kept()
    sdk.client(stack, "sagemaker-runtime").invoke_endpoint(
        EndpointName=ENDPOINT, ContentType="application/json", Body=json.dumps({"instances": asked})
    )
    wait_for(lambda: kept() > before, "the capture")


def monitor(stack: Stack) -> dict[str, Any]:
    done = mlops(
        "monitor",
        "--manifest",
        str(EXAMPLE / "mlops.yml"),
        "--json",
        AWS_ENDPOINT_URL=stack.aws_endpoint,
        AWS_REGION=stack.region,
        AWS_ACCESS_KEY_ID=stack.access_key,
        AWS_SECRET_ACCESS_KEY="test",
        AWS_EC2_METADATA_DISABLED="true",
        NO_PROXY="127.0.0.1,localhost",
    )
    assert done.returncode == 0, done.stderr[-6000:]
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def retrainings(stack: Stack) -> list[dict[str, Any]]:
    """Runs that somebody asked for because of drift."""
    token = log_in(stack.airflow_url, stack.airflow_passwords)
    url = f"{stack.airflow_url}/api/v2/dags/model_retraining/dagRuns?limit=100"
    with urlopen(Request(url, headers={"Authorization": f"Bearer {token}"}), timeout=30) as answer:
        runs = json.load(answer)["dag_runs"]
    return [run for run in runs if run["conf"].get("reason") == "drift"]


@pytest.mark.timeout(900)
def test_a_drift_is_found_by_hand_and_leads_to_a_decision(in_processes: Demo) -> None:
    stack = in_processes.stack
    ask(stack, rows())
    report = monitor(stack)
    assert (report["state"], report["rows"] >= 375) == ("stable", True)
    assert retrainings(stack) == []

    ask(stack, [row | {"https": 1.0, "ip_in_url": 1.0} for row in rows() * 4])
    report = monitor(stack)
    assert report["state"] == "drifted"
    assert {"https", "ip_in_url"} <= {one["name"] for one in report["columns"] if one["drifted"]}
    alarms = sdk.client(stack, "cloudwatch")
    name = f"ml-ops-drift-{ENDPOINT}"
    wait_for(
        lambda: alarms.describe_alarms(AlarmNames=[name], StateValue="ALARM")["MetricAlarms"], "the alarm"
    )
    runs = wait_for(lambda: retrainings(stack), "the decision")
    assert len(runs) == 1
    assert runs[0]["conf"]["model"] == "phishing-url"
