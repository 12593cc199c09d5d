"""A job's log reaches its stream, whatever other jobs do in the same group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boto3
from moto import mock_aws

from mlops_local.aws.sagemaker.shipping import Shipper

GROUP = "/aws/sagemaker/TrainingJobs"


class Raced:
    """Logs in which another job makes the group between our two calls."""

    def __init__(self, logs: Any) -> None:
        self._logs = logs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logs, name)

    def create_log_group(self, **request: Any) -> None:
        self._logs.create_log_group(**request)
        self._logs.create_log_group(**request)


@mock_aws
def test_two_jobs_at_once_both_have_a_log(tmp_path: Path) -> None:
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="eu-west-1")
    logs = session.client("logs")
    file = tmp_path / "log"
    file.write_text("rows 2\n")

    Shipper(Raced(logs), file, GROUP, "job/algo-1-1").finish()  # type: ignore[arg-type]

    found = logs.get_log_events(logGroupName=GROUP, logStreamName="job/algo-1-1")["events"]
    assert [event["message"] for event in found] == ["rows 2"]
