"""A model's evaluations and drift as metrics on CloudWatch, where its dashboard shows them.

Namespace `ml-ops/models`, dimensions EndpointName and Role (challenger or champion), a metric for each of the
manifest: terraform/modules/observability searches for them.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mlops.contracts.versions import endpoint_name

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_cloudwatch.type_defs import MetricDatumTypeDef

    from mlops.contracts.evidence import Comparison, DriftReport

NAMESPACE = "ml-ops/models"
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html
_AT_ONCE = 1000
_NAME_LIMIT = 255

_LOG = logging.getLogger(__name__)


def publish(cloudwatch: CloudWatchClient, comparison: Comparison) -> None:
    """Send what a run measured, one value a metric and role.

    A dashboard's curve is not evidence: if CloudWatch does not take it, the run goes on and logs it.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    endpoint = endpoint_name(comparison.project, comparison.model)
    data: list[MetricDatumTypeDef] = [
        {
            "MetricName": line.name[:_NAME_LIMIT],
            "Dimensions": [{"Name": "EndpointName", "Value": endpoint}, {"Name": "Role", "Value": role}],
            "Value": value,
        }
        for line in comparison.metrics
        for role, value in (("challenger", line.challenger), ("champion", line.champion))
        if value is not None
    ]
    try:
        for start in range(0, len(data), _AT_ONCE):
            cloudwatch.put_metric_data(Namespace=NAMESPACE, MetricData=data[start : start + _AT_ONCE])
    except (BotoCoreError, ClientError) as error:
        _LOG.warning("The model's dashboard lacks this evaluation: %s", error)


def publish_drift(cloudwatch: CloudWatchClient, report: DriftReport) -> None:
    """Send what a monitoring run found, by EndpointName; a model's alarm watches `Drift`.

    Too few rows say nothing of drift: then there are only the rows. Where CloudWatch does not take it, the
    error is the caller's: without the metric there would be no alarm.
    """
    columns = [*report.columns, *([report.predictions] if report.predictions else [])]
    values = {"MonitoredRows": float(report.rows)}
    if report.state != "too_few_rows":
        values["Drift"] = 1.0 if report.state == "drifted" else 0.0
        values["DriftedFeatures"] = float(len(report.drifted()))
        values["WorstPSI"] = max((column.psi for column in columns), default=0.0)
    endpoint = endpoint_name(report.project, report.model)
    cloudwatch.put_metric_data(
        Namespace=NAMESPACE,
        MetricData=[
            {
                "MetricName": name,
                "Dimensions": [{"Name": "EndpointName", "Value": endpoint}],
                "Value": value,
            }
            for name, value in values.items()
        ],
    )
