"""CloudWatch: the drift alarms of a project's models, asked for once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from mlops.base.errors import AwsError
from mlops.contracts.versions import endpoint_name

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient

PREFIX = "ml-ops-drift-"


@dataclass(frozen=True, kw_only=True)
class AlarmState:
    """A drift alarm: whether it is raised, since when, and what CloudWatch says of it."""

    raised: bool
    since: datetime
    reason: str


class DriftAlarms:
    """The alarms of all models of a project, in one call for each hundred; none before the first question."""

    def __init__(self, cloudwatch: CloudWatchClient, project: str) -> None:
        self._cloudwatch = cloudwatch
        self._project = project

    def for_model(self, model: str) -> AlarmState | None:
        """A model's alarm; None if it has none.

        Raises:
            AwsError: when CloudWatch does not answer.
        """
        return self._states.get(f"{PREFIX}{endpoint_name(self._project, model)}")

    @cached_property
    def _states(self) -> dict[str, AlarmState]:
        from botocore.exceptions import BotoCoreError, ClientError

        pages = self._cloudwatch.get_paginator("describe_alarms").paginate(
            AlarmNamePrefix=f"{PREFIX}{endpoint_name(self._project, '')}", AlarmTypes=["MetricAlarm"]
        )
        try:
            return {
                alarm["AlarmName"]: AlarmState(
                    raised=alarm["StateValue"] == "ALARM",
                    since=alarm.get("StateTransitionedTimestamp") or alarm["StateUpdatedTimestamp"],
                    reason=alarm.get("StateReason", ""),
                )
                for page in pages
                for alarm in page["MetricAlarms"]
            }
        except (ClientError, BotoCoreError) as error:
            raise AwsError(
                f"CloudWatch does not list the drift alarms of {self._project}",
                cause=str(error),
                next_step="Grant the job's role cloudwatch:DescribeAlarms, or try again.",
            ) from error
