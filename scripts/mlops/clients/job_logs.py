"""The last lines of a job's log on CloudWatch, and where a person reads the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

LAST_LINES = 15


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
    """The end of the first stream whose name begins with `prefix`, or of the newest where that is empty.

    Logs explain a failure, they are not one: what cannot be read is left out.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        if prefix:
            found = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=prefix, limit=1)
        else:
            found = logs.describe_log_streams(
                logGroupName=group, orderBy="LastEventTime", descending=True, limit=1
            )
        streams = found["logStreams"]
        if not streams:
            return LogTail(group, "", ())
        stream = streams[0]["logStreamName"]
        events = logs.get_log_events(
            logGroupName=group, logStreamName=stream, limit=lines, startFromHead=False
        )["events"]
    except (ClientError, BotoCoreError):
        return LogTail(group, "", ())
    return LogTail(group, stream, tuple(event["message"].rstrip() for event in events))
