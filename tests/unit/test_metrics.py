"""Evaluations as metrics of CloudWatch."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from mlops.clients import metrics
from mlops.evidence import Comparison, MetricComparison

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient

CHECKOUT = Path(__file__).parents[2]
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
