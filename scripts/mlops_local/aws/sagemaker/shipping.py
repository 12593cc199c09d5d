"""A container's output on its way to CloudWatch Logs."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

_LOG = logging.getLogger(__name__)
_SECONDS = 0.5
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
_EVENTS_LIMIT = 1000
_EVENT_BYTES = 100_000


class Shipper:
    """Follows a log file, and puts its lines into a stream until there are no more."""

    def __init__(self, logs: CloudWatchLogsClient, file: Path, group: str, stream: str) -> None:
        self._logs = logs
        self._file = file
        self._group = group
        self._stream = stream
        self._rest = b""
        self._position = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        file.touch()
        self._thread.start()

    @property
    def stream(self) -> str:
        """The log stream's name."""
        return self._stream

    def finish(self) -> None:
        """Ship what is left; return once it is there."""
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        try:
            self._open_stream()
            while not self._ended.wait(_SECONDS):
                self._ship(last=False)
            self._ship(last=True)
        except (ClientError, BotoCoreError, OSError):
            # The job matters more than its log, which is still on disk; at the end the API may be gone first.
            _LOG.warning(
                "the log %s did not reach %s", self._file, self._group, exc_info=not self._ended.is_set()
            )

    def _open_stream(self) -> None:
        taken = self._logs.exceptions.ResourceAlreadyExistsException
        stream = {"logGroupName": self._group, "logStreamName": self._stream}
        with contextlib.suppress(taken):
            try:
                self._logs.create_log_stream(**stream)
            except self._logs.exceptions.ResourceNotFoundException:
                with contextlib.suppress(taken):  # another job may have made the group meanwhile
                    self._logs.create_log_group(logGroupName=self._group)
                self._logs.create_log_stream(**stream)

    def _ship(self, *, last: bool) -> None:
        with self._file.open("rb") as file:
            file.seek(self._position)
            content = self._rest + file.read()
            self._position = file.tell()
        *lines, self._rest = content.split(b"\n")
        if last and self._rest:
            lines.append(self._rest)
        now = int(time.time() * 1000)
        messages = [line[:_EVENT_BYTES].decode(errors="replace").rstrip("\r") for line in lines]
        events = [{"timestamp": now, "message": message} for message in messages if message.strip()]
        for start in range(0, len(events), _EVENTS_LIMIT):
            self._logs.put_log_events(
                logGroupName=self._group,
                logStreamName=self._stream,
                logEvents=events[start : start + _EVENTS_LIMIT],  # type: ignore[arg-type]
            )
