"""CloudWatch's metric streams, which moto has not. They are kept and described; no metric flows.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricStream.html
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

# pylint: disable=protected-access  # the calls become methods of moto's own class

_KEPT = (
    "Name",
    "RoleArn",
    "FirehoseArn",
    "OutputFormat",
    "IncludeFilters",
    "ExcludeFilters",
    "StatisticsConfigurations",
    "IncludeLinkedAccountsMetrics",
)


def install() -> None:
    """Teach moto's CloudWatch the calls that make, describe, list and delete a stream."""
    from moto.cloudwatch.exceptions import ResourceNotFoundException
    from moto.cloudwatch.models import CloudWatchBackend
    from moto.cloudwatch.responses import CloudWatchResponse
    from moto.core.responses import ActionResult, EmptyResult

    create = CloudWatchBackend.__init__

    def created(self: Any, *args: Any, **kwargs: Any) -> None:
        create(self, *args, **kwargs)
        self.mlops_metric_streams = {}

    def put_metric_stream(self: Any) -> ActionResult:
        backend = self.cloudwatch_backend
        wanted = {key: self._get_param(key) for key in _KEPT if self._get_param(key) is not None}
        name, now = wanted["Name"], datetime.now(UTC)
        old = backend.mlops_metric_streams.get(name, {})
        arn = f"arn:aws:cloudwatch:{self.region}:{self.current_account}:metric-stream/{name}"
        backend.mlops_metric_streams[name] = {
            "Arn": arn,
            "State": old.get("State", "running"),
            "CreationDate": old.get("CreationDate", now),
            "LastUpdateDate": now,
            **wanted,
        }
        if not old:  # AWS ignores the tags of an update
            backend.tagger.tag_resource(arn, self._get_param("Tags", []))
        return ActionResult({"Arn": arn})

    def get_metric_stream(self: Any) -> ActionResult:
        found = self.cloudwatch_backend.mlops_metric_streams.get(self._get_param("Name"))
        if found is None:
            raise ResourceNotFoundException
        return ActionResult(found)

    def list_metric_streams(self: Any) -> ActionResult:
        keys = ("Arn", "Name", "FirehoseArn", "State", "OutputFormat", "CreationDate", "LastUpdateDate")
        streams = self.cloudwatch_backend.mlops_metric_streams.values()
        return ActionResult({"Entries": [{key: stream[key] for key in keys} for stream in streams]})

    def delete_metric_stream(self: Any) -> ActionResult:
        self.cloudwatch_backend.mlops_metric_streams.pop(self._get_param("Name"), None)
        return EmptyResult()

    CloudWatchBackend.__init__ = created  # type: ignore[method-assign]
    for call in (put_metric_stream, get_metric_stream, list_metric_streams, delete_metric_stream):
        setattr(CloudWatchResponse, call.__name__, call)
