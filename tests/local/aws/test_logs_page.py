"""The page that a log link of the local stack leads to."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from .harness import LocalAws

GROUP = "/aws/sagemaker/TrainingJobs"


def page(aws: LocalAws, stream: str) -> str:
    address = f"{aws.endpoint}/_mlops/logs?group={quote(GROUP, safe='')}&stream={quote(stream, safe='')}"
    with urlopen(address) as answer:
        return str(answer.read().decode())


def test_a_log_link_shows_the_whole_stream(aws: LocalAws, client: Callable[..., Any]) -> None:
    logs = client("logs")
    stream = "page/algo-1"
    with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):
        logs.create_log_group(logGroupName=GROUP)
    logs.create_log_stream(logGroupName=GROUP, logStreamName=stream)
    now = int(time.time() * 1000)
    events = [{"timestamp": now, "message": "epoch 1"}, {"timestamp": now + 1, "message": "loss is NaN"}]
    logs.put_log_events(logGroupName=GROUP, logStreamName=stream, logEvents=events)
    assert page(aws, stream) == "epoch 1\nloss is NaN\n"


def test_a_stream_that_is_not_there_says_so(aws: LocalAws) -> None:
    with pytest.raises(HTTPError) as refused:
        page(aws, "nothing/algo-1")
    assert refused.value.code == 404
