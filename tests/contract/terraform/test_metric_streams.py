"""Our metric streams, held to what AWS does."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import LocalAws

STREAM: dict[str, Any] = {
    "Name": "stream",
    "FirehoseArn": "arn:aws:firehose:eu-west-1:123456789012:deliverystream/metrics",
    "RoleArn": "arn:aws:iam::123456789012:role/metrics",
    "OutputFormat": "json",
}
ARN = "arn:aws:cloudwatch:eu-west-1:123456789012:metric-stream/stream"


def test_a_stream_is_kept_changed_and_deleted(aws: LocalAws) -> None:
    cloudwatch = aws.client("cloudwatch")
    filters = [{"Namespace": "AWS/SageMaker"}]
    tags = [{"Key": "ml-ops:environment", "Value": "local"}]
    assert cloudwatch.put_metric_stream(**STREAM, IncludeFilters=filters, Tags=tags)["Arn"] == ARN
    found = cloudwatch.get_metric_stream(Name="stream")
    assert found.items() >= (STREAM | {"Arn": ARN, "State": "running", "IncludeFilters": filters}).items()
    assert cloudwatch.list_tags_for_resource(ResourceARN=ARN)["Tags"] == tags

    cloudwatch.put_metric_stream(**STREAM | {"OutputFormat": "opentelemetry1.0"})
    changed = cloudwatch.get_metric_stream(Name="stream")
    assert changed["OutputFormat"] == "opentelemetry1.0"
    assert changed["CreationDate"] == found["CreationDate"]
    assert "IncludeFilters" not in changed
    assert [entry["Name"] for entry in cloudwatch.list_metric_streams()["Entries"]] == ["stream"]

    cloudwatch.delete_metric_stream(Name="stream")
    assert not cloudwatch.list_metric_streams()["Entries"]


def test_a_stream_that_is_not_there(aws: LocalAws) -> None:
    cloudwatch = aws.client("cloudwatch")
    with pytest.raises(ClientError) as missing:
        cloudwatch.get_metric_stream(Name="nothing")
    assert missing.value.response["Error"]["Code"] == "ResourceNotFoundException"
    cloudwatch.delete_metric_stream(Name="nothing")  # AWS says nothing either
