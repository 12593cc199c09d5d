"""Evaluations as metrics of CloudWatch."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from mlops.clients.aws import metrics
from mlops.contracts.evidence import ColumnDrift, Comparison, DriftReport, MetricComparison

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient

CHECKOUT = Path(__file__).parents[3]
DENIED = ClientError({"Error": {"Code": "AccessDenied", "Message": "not allowed"}}, "PutMetricData")


class CloudWatch:
    """Keeps what it is sent, or refuses it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.sent: list[dict[str, Any]] = []
        self._error = error

    def put_metric_data(self, **request: Any) -> None:
        if self._error is not None:
            raise self._error
        self.sent.append(request)


def comparison(*, champion: float | None = 0.8, lines: int = 1) -> Comparison:
    compared = [
        MetricComparison(
            name="f1" if number == 0 else f"m{number}",
            goal="maximize",
            challenger=0.9,
            champion=champion,
            change=None,
            gate="passed",
        )
        for number in range(lines)
    ]
    return Comparison(
        schema_version=1,
        project="web-safety",
        model="phishing-url",
        challenger="1.1.0+retrain.0",
        champion=None if champion is None else "1.0.0+retrain.0",
        gate="passed",
        metrics=tuple(compared),
        evaluated_on="s3://bucket/test/",
        created_at="2026-01-01T00:00:00+00:00",
    )


def publish(cloudwatch: CloudWatch, compared: Comparison) -> None:
    metrics.publish(cast("CloudWatchClient", cloudwatch), compared)


def test_challenger_and_champion_are_told_apart() -> None:
    cloudwatch = CloudWatch()
    publish(cloudwatch, comparison())
    (request,) = cloudwatch.sent
    assert request["Namespace"] == "ml-ops/models"
    assert [
        (datum["MetricName"], {pair["Name"]: pair["Value"] for pair in datum["Dimensions"]}, datum["Value"])
        for datum in request["MetricData"]
    ] == [
        ("f1", {"EndpointName": "web-safety--phishing-url", "Role": "challenger"}, 0.9),
        ("f1", {"EndpointName": "web-safety--phishing-url", "Role": "champion"}, 0.8),
    ]


def test_nothing_is_said_of_a_champion_that_is_not_there() -> None:
    cloudwatch = CloudWatch()
    publish(cloudwatch, comparison(champion=None))
    assert [datum["Dimensions"][1]["Value"] for datum in cloudwatch.sent[0]["MetricData"]] == ["challenger"]


def test_a_call_holds_a_thousand() -> None:
    cloudwatch = CloudWatch()
    publish(cloudwatch, comparison(lines=600))
    assert [len(request["MetricData"]) for request in cloudwatch.sent] == [1000, 200]


@pytest.mark.parametrize("error", [DENIED, EndpointConnectionError(endpoint_url="https://example.com")])
def test_a_run_goes_on_without_its_curve(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        publish(CloudWatch(error), comparison())
    assert "The model's dashboard lacks this evaluation" in caplog.text


def test_the_dashboards_search_where_it_is_written() -> None:
    variables = CHECKOUT / "terraform" / "modules" / "observability" / "variables.tf"
    block = variables.read_text(encoding="utf-8").split('variable "metric_namespace"')[1]
    default = re.search(r'default\s+= "([^"]+)"', block)
    assert default and default[1] == metrics.NAMESPACE


def report(state: Literal["drifted", "stable", "too_few_rows"]) -> DriftReport:
    column = ColumnDrift(
        name="https",
        kind="category",
        drifted=state == "drifted",
        psi=0.4,
        ks=None,
        p_value=0.0,
        missing=0.0,
        baseline_missing=0.0,
        unseen=0.0,
    )
    return DriftReport(
        schema_version=1,
        project="web-safety",
        model="phishing-url",
        model_version="1.0.0+retrain.0",
        state=state,
        window_start="2026-03-01T00:00:00+00:00",
        window_end="2026-03-08T00:00:00+00:00",
        rows=500,
        baseline_rows=1000,
        columns=() if state == "too_few_rows" else (column,),
        predictions=None,
        notes=(),
        dag_run_id="r",
        created_at="2026-03-08T00:00:00+00:00",
    )


@pytest.mark.parametrize(
    ("state", "values"),
    [
        ("drifted", {"Drift": 1.0, "DriftedFeatures": 1.0, "WorstPSI": 0.4, "MonitoredRows": 500.0}),
        ("stable", {"Drift": 0.0, "DriftedFeatures": 0.0, "WorstPSI": 0.4, "MonitoredRows": 500.0}),
        ("too_few_rows", {"MonitoredRows": 500.0}),
    ],
)
def test_drift_is_sent_by_endpoint(
    state: Literal["drifted", "stable", "too_few_rows"], values: dict[str, float]
) -> None:
    cloudwatch = CloudWatch()
    metrics.publish_drift(cast("CloudWatchClient", cloudwatch), report(state))
    (sent,) = cloudwatch.sent
    assert sent["Namespace"] == "ml-ops/models"
    assert {one["MetricName"]: one["Value"] for one in sent["MetricData"]} == values
    dimensions = [{"Name": "EndpointName", "Value": "web-safety--phishing-url"}]
    assert all(one["Dimensions"] == dimensions for one in sent["MetricData"])


def test_drift_that_cloudwatch_does_not_take_is_an_error() -> None:
    """Without the metric there is no alarm."""
    with pytest.raises(ClientError):
        metrics.publish_drift(cast("CloudWatchClient", CloudWatch(DENIED)), report("drifted"))
