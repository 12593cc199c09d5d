"""What becomes of events that nobody waits for: tried again, then kept, as Lambda does.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from moto.awslambda.models import LambdaFunction

    from mlops_local.aws.functions.runtime import Invocation
    from mlops_local.base.config import LocalAwsConfig

_LOG = logging.getLogger(__name__)
_RETRIES = 2
_AGE_SECONDS = 21600


class FunctionRuntime(Protocol):
    """What is needed of `lambda_runtime.LambdaRuntime`."""

    def run(self, function: LambdaFunction, event: object, alias: str) -> Invocation: ...


class Slots:
    """How many events a function works on at once; with reserved concurrency never more than that."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: dict[str, int] = {}

    def take(self, function: LambdaFunction, seconds: float) -> bool:
        """One slot, as soon as there is one within so many seconds; False when there is none."""
        limit = function.reserved_concurrency
        with self._changed:
            free = self._changed.wait_for(
                lambda: not limit or self._running.get(function.function_arn, 0) < int(limit), seconds
            )
            if free:
                self._running[function.function_arn] = self._running.get(function.function_arn, 0) + 1
            return free

    def give_back(self, function: LambdaFunction) -> None:
        """Let another event have it."""
        with self._changed:
            self._running[function.function_arn] -= 1
            self._changed.notify()


@dataclass(frozen=True)
class _Policy:
    """A function's EventInvokeConfig."""

    retries: int
    age: float
    queue: str
    """The ARN of the queue for what failed for good; empty if none is configured."""


class LambdaQueue:
    """The asynchronous events of all functions of one account."""

    def __init__(self, config: LocalAwsConfig, runtime: FunctionRuntime, slots: Slots) -> None:
        self._config = config
        self._runtime = runtime
        self._slots = slots
        self.retry_seconds: tuple[float, float] = (60.0, 120.0)
        """Lambda's own pauses before the second and the third try; tests shorten them."""

    def put(self, function: LambdaFunction, event: object, alias: str = "") -> None:
        """Take an event; who sent it hears nothing more."""
        threading.Thread(target=self._work, args=(function, event, alias), daemon=True).start()

    def _work(self, function: LambdaFunction, event: object, alias: str) -> None:
        request, began = str(uuid.uuid4()), time.monotonic()
        policy = _policy(function)
        for attempt in range(1, policy.retries + 2):
            if not self._slots.take(function, began + policy.age - time.monotonic()):
                self._keep(
                    function, policy, _record(function, request, event, attempt - 1, "EventAgeExceeded")
                )
                return
            try:
                invocation = self._runtime.run(function, event, alias)
            finally:
                self._slots.give_back(function)
            if not invocation.error:
                return
            if attempt <= policy.retries:
                time.sleep(self.retry_seconds[attempt - 1])
        record = _record(function, request, event, policy.retries + 1, "RetriesExhausted", invocation)
        self._keep(function, policy, record)

    def _keep(self, function: LambdaFunction, policy: _Policy, record: dict[str, Any]) -> None:
        if not policy.queue:
            _LOG.warning(
                "An event of %s failed for good and is lost: no queue keeps it", function.function_name
            )
            return
        send(self._config, policy.queue, json.dumps(record))


def send(config: LocalAwsConfig, queue_arn: str, body: str, attributes: dict[str, str] | None = None) -> None:
    """Put a message into a queue, as a service does."""
    from moto.sqs.models import sqs_backends

    described = {
        name: {"DataType": "String", "StringValue": value} for name, value in (attributes or {}).items()
    }
    queues = sqs_backends[config.account][config.region]
    queues.send_message(queue_arn.rpartition(":")[2], body, message_attributes=described)


def _policy(function: LambdaFunction) -> _Policy:
    known = function.event_invoke_config
    settings: dict[str, Any] = known[-1].config if known else {}
    destination = settings.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination", "")
    return _Policy(
        retries=int(settings.get("MaximumRetryAttempts", _RETRIES)),
        age=float(settings.get("MaximumEventAgeInSeconds", _AGE_SECONDS)),
        queue=destination,
    )


def _record(  # pylint: disable=too-many-arguments,too-many-positional-arguments
    function: LambdaFunction,
    request: str,
    event: object,
    attempts: int,
    condition: str,
    invocation: Invocation | None = None,
) -> dict[str, Any]:
    """https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html"""
    record: dict[str, Any] = {
        "version": "1.0",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "requestContext": {
            "requestId": request,
            "functionArn": f"{function.function_arn}:$LATEST",
            "condition": condition,
            "approximateInvokeCount": attempts,
        },
        "requestPayload": event,
    }
    if invocation is not None:
        record["responseContext"] = {
            "statusCode": 200,
            "executedVersion": "$LATEST",
            "functionError": "Unhandled",
        }
        record["responsePayload"] = json.loads(invocation.payload)
    return record
