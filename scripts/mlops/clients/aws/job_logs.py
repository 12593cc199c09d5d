"""The last lines of a job's or an endpoint's log on CloudWatch, and where a person reads the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from datetime import datetime

    from mypy_boto3_logs import CloudWatchLogsClient

LAST_LINES = 15
# How many of an endpoint's streams are looked through: 20 pages.
_STREAMS = 1000


@dataclass(frozen=True)
class LogTail:
    """The end of one stream, oldest line first; both empty when the job wrote nothing."""

    group: str
    stream: str
    lines: tuple[str, ...]

    def url(self, template: str) -> str:
        """The page of this log; `template` holds `{group}` and `{stream}`. Empty when there is none."""
        if not template or not self.stream:
            return ""
        return template.replace("{group}", quote(self.group, safe="")).replace(
            "{stream}", quote(self.stream, safe="")
        )


def tail(logs: CloudWatchLogsClient, group: str, prefix: str, lines: int = LAST_LINES) -> LogTail:
    """The end of the newest stream whose name begins with `prefix`.

    A spot job that was interrupted has a stream for each start, `<job>/algo-1-<time>`, and ended in the last.
    Logs explain a failure, they are not one: what cannot be read is left out.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        found = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=prefix)["logStreams"]
        if not found:
            return LogTail(group, "", ())
        newest = max(found, key=lambda stream: stream.get("creationTime", 0))
        return _end(logs, group, newest["logStreamName"], lines)
    except (ClientError, BotoCoreError):
        return LogTail(group, "", ())


def tail_since(
    logs: CloudWatchLogsClient, group: str, since: datetime | None, lines: int = LAST_LINES
) -> LogTail | None:
    """The end of the newest stream that was begun at `since` or later; without a stream when there is none.

    An endpoint has a stream for each instance, `<variant>/<instance>`, and the instances of another
    configuration are others: https://docs.aws.amazon.com/sagemaker/latest/dg/logging-cloudwatch.html
    A stream's `lastEventTimestamp` may be an hour late, its `creationTime` is not, so the order is a hint:
    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_LogStream.html

    Args:
        logs: CloudWatch Logs.
        group: The endpoint's.
        since: None for any time.
        lines: How many at most.

    Returns:
        None when the log cannot be read.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    first = since.timestamp() * 1000 if since else 0
    try:
        pages = logs.get_paginator("describe_log_streams").paginate(
            logGroupName=group,
            orderBy="LastEventTime",
            descending=True,
            PaginationConfig={"MaxItems": _STREAMS},
        )
        begun = [one for page in pages for one in page["logStreams"] if one.get("creationTime", 0) >= first]
        for stream in sorted(begun, key=lambda one: one.get("creationTime", 0), reverse=True):
            found = _end(logs, group, stream["logStreamName"], lines)
            if found.lines:
                return found
    except logs.exceptions.ResourceNotFoundException:
        return LogTail(group, "", ())  # the first line makes the group
    except (ClientError, BotoCoreError):
        return None
    return LogTail(group, "", ())


def _end(logs: CloudWatchLogsClient, group: str, stream: str, lines: int) -> LogTail:
    events = logs.get_log_events(logGroupName=group, logStreamName=stream, limit=lines, startFromHead=False)
    return LogTail(group, stream, tuple(event["message"].rstrip() for event in events["events"]))
