"""EventBridge that delivers: what services send reaches the functions that rules and schedules name.

Rules, targets and schedules are moto's, as Terraform makes them, and so is the matching of patterns. moto has
no functions as targets; they get their events here, asynchronously and at least once, and what cannot be
delivered goes to the target's dead-letter queue, with the attributes EventBridge gives it:
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
"""

from __future__ import annotations

import copy
import json
import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Request, Response

from mlops_local.aws.access.calls import Call
from mlops_local.aws.access.gate import Gate
from mlops_local.aws.access.principals import Principal, Principals
from mlops_local.aws.events import alarms
from mlops_local.aws.functions import runtime
from mlops_local.aws.functions.queue import LambdaQueue, Slots, send
from mlops_local.base.children import Children
from mlops_local.base.config import LocalAwsConfig
from mlops_local.base.wire import JSON, ServiceError, error_response, json_response

if TYPE_CHECKING:
    from moto.awslambda.models import LambdaFunction
    from moto.events.models import Rule
    from moto.scheduler.models import Schedule

_LOG = logging.getLogger(__name__)


class EventBus:
    """The default bus, and the schedules, of one account in one region."""

    def __init__(self, config: LocalAwsConfig, functions: LambdaQueue, gate: Gate) -> None:
        self._config = config
        self._functions = functions
        self._gate = gate
        self._told: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.copies = 1
        """How often each event is delivered: EventBridge promises at least once."""
        threading.Thread(target=self._forward, name="event bus", daemon=True).start()

    def publish(self, source: str, detail_type: str, detail: Mapping[str, Any], *resources: str) -> None:
        """An event of a service. Returns at once; who listens hears of it a moment later."""
        now = time.time()
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": detail_type,
            "source": source,
            "account": self._config.account,
            "time": now,
            "region": self._config.region,
            "resources": list(resources),
            "detail": json.loads(json.dumps(detail, default=_milliseconds)),
            "ingestion-time": now,
        }
        self._told.put(event)

    def deliver(self, rule: Rule, target: Mapping[str, Any], event: dict[str, Any]) -> None:
        """Hand an event to a function that is a rule's target."""
        document = {key: value for key, value in event.items() if key != "ingestion-time"}
        document["time"] = _iso(float(event["time"]))
        if target.get("Input"):
            document = json.loads(target["Input"])
        function = self._function(target["Arn"])
        problem = "RESOURCE_NOT_FOUND" if function is None else ""
        if function is not None and not _lets_in(function, "events.amazonaws.com", rule.arn):
            problem = "NO_PERMISSIONS"
        if function is None or problem:
            self._give_up(target, document, problem, RULE_ARN=rule.arn, TARGET_ARN=target["Arn"])
            return
        for _ in range(self.copies):
            self._functions.put(function, document)

    def fire(self, name: str, group: str = "default", moment: str = "") -> None:
        """Do what a schedule does when its time comes.

        Raises:
            ServiceError: when there is no such schedule, it is switched off, or its role may not.
        """
        schedule = self._schedule(name, group)
        if schedule.state != "ENABLED":
            raise ServiceError("ConflictException", f"Schedule {name} is {schedule.state}.", status=409)
        target = schedule.target
        role = str(target["RoleArn"]).rpartition("/")[2]
        call = Call("lambda:InvokeFunction", (target["Arn"],))
        function = self._function(target["Arn"])
        if function is None or self._gate.denied(Principal(role, "scheduler"), [call]):
            problem = "RESOURCE_NOT_FOUND" if function is None else "AccessDeniedException"
            self._give_up(target, json.loads(target["Input"]), problem, SCHEDULE_ARN=schedule.arn)
            raise ServiceError("AccessDeniedException", f"{problem}: {role} on {target['Arn']}", status=403)
        # https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
        context = {
            "<aws.scheduler.schedule-arn>": schedule.arn,
            "<aws.scheduler.scheduled-time>": moment or _iso(time.time()),
            "<aws.scheduler.execution-id>": uuid.uuid4().hex[:16],
            "<aws.scheduler.attempt-number>": "1",
        }
        text = target["Input"]
        for attribute, value in context.items():
            text = text.replace(attribute, value)
        for _ in range(self.copies):
            self._functions.put(function, json.loads(text))

    def fire_page(self, request: Request) -> Response:
        """POST /_mlops/events/fire {"name", "group"?, "time"?}: a schedule's time has come."""
        wanted = request.get_json(force=True)
        try:
            self.fire(wanted["name"], wanted.get("group", "default"), wanted.get("time", ""))
        except ServiceError as error:
            return error_response(error, JSON)
        return json_response({})

    def delivery_page(self, request: Request) -> Response:
        """POST /_mlops/events/delivery {"copies"?, "retry_seconds"?}: how events arrive from now on.

        How often each of them, and Lambda's pauses before it tries one a second and a third time.
        """
        wanted = request.get_json(force=True)
        self.copies = wanted.get("copies", self.copies)
        self._functions.retry_seconds = tuple(wanted.get("retry_seconds", self._functions.retry_seconds))
        return json_response({})

    def _forward(self) -> None:
        from moto.events.models import events_backends

        while True:
            event = self._told.get()
            try:
                rules = (
                    events_backends[self._config.account][self._config.region].event_buses["default"].rules
                )
                for rule in list(rules.values()):
                    rule.send_to_targets(copy.deepcopy(event))  # type: ignore[arg-type]
            except Exception:  # pylint: disable=broad-exception-caught  # the next event must be delivered
                _LOG.exception("the event %s was not delivered", event["detail-type"])

    def _give_up(
        self, target: Mapping[str, Any], document: Mapping[str, Any], problem: str, **attributes: str
    ) -> None:
        _LOG.warning("an event could not be delivered to %s: %s", target["Arn"], problem)
        letters = target.get("DeadLetterConfig", {}).get("Arn")
        if letters:
            send(self._config, letters, json.dumps(document), {"ERROR_CODE": problem, **attributes})

    def _function(self, arn: str) -> LambdaFunction | None:
        from moto.awslambda.exceptions import UnknownFunctionException
        from moto.awslambda.models import lambda_backends

        try:
            return lambda_backends[self._config.account][self._config.region].get_function(arn)
        except UnknownFunctionException:
            return None

    def _schedule(self, name: str, group: str) -> Schedule:
        from moto.scheduler.exceptions import ScheduleGroupNotFound, ScheduleNotFound
        from moto.scheduler.models import scheduler_backends

        backend = scheduler_backends[self._config.account][self._config.region]
        try:
            return backend.get_schedule_group(group).get_schedule(name)
        except (ScheduleNotFound, ScheduleGroupNotFound) as error:
            raise ServiceError(
                "ResourceNotFoundException", f"There is no schedule {name} in {group}.", status=404
            ) from error


def _lets_in(function: LambdaFunction, service: str, source: str) -> bool:
    """Whether the function's own policy lets a service call it for a resource."""
    for statement in function.policy.statements:
        principal = statement.get("Principal")
        principal = principal.get("Service") if isinstance(principal, Mapping) else principal
        wanted = statement.get("Condition", {}).get("ArnLike", {}).get("AWS:SourceArn", "*")
        if principal == service and fnmatchcase(source, wanted):
            return True
    return False


def start(config: LocalAwsConfig, children: Children, principals: Principals, gate: Gate) -> EventBus:
    """The bus of an account, and the functions that hear of its events."""
    functions, slots = runtime.LambdaRuntime(config, children, principals), Slots()
    waiting = LambdaQueue(config, functions, slots)
    runtime.install(functions, waiting, slots)
    bus = EventBus(config, waiting, gate)
    _install(bus)
    return bus


def _install(bus: EventBus) -> None:
    """Have moto's rules reach functions, and S3 and CloudWatch send events of their own."""
    from moto.events.models import Rule
    from moto.s3 import notifications

    others: Callable[..., None] = Rule.send_to_targets

    def send_to_targets(self: Rule, original_event: Any, transform_input: bool = True) -> None:
        if self.state != "ENABLED" or not self.event_pattern.dump():
            return
        if not self.event_pattern.matches_event(original_event):
            return
        rest = copy.copy(self)
        rest.targets = []
        for target in self.targets:
            if ":lambda:" in target["Arn"]:
                bus.deliver(self, target, original_event)
            else:
                rest.targets.append(target)
        if rest.targets:
            others(rest, original_event, transform_input)

    def tell_of_object(account_id: str, bucket: Any, event_name: str, key: Any) -> None:
        """https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html"""
        del account_id
        stored = {"key": key.name, "size": key.size, "etag": key.etag.replace('"', "")}
        if key.version_id not in (None, "null"):
            stored["version-id"] = key.version_id
        detail = {
            "version": "0",
            "bucket": {"name": bucket.name},
            "object": stored | {"sequencer": f"{time.time_ns():016X}"},
            "request-id": uuid.uuid4().hex[:16].upper(),
            "source-ip-address": "127.0.0.1",
            "reason": _REASONS.get(event_name.rpartition(":")[2], "PutObject"),
        }
        kind = notifications._detail_type(event_name)  # pylint: disable=protected-access
        bus.publish("aws.s3", kind, detail, bucket.arn)

    Rule.send_to_targets = send_to_targets  # type: ignore[method-assign]
    notifications._send_event_bridge_message = tell_of_object  # pylint: disable=protected-access
    alarms.install(bus)


_REASONS = {
    "Put": "PutObject",
    "Post": "POST Object",
    "Copy": "CopyObject",
    "CompleteMultipartUpload": "CompleteMultipartUpload",
    "Delete": "DeleteObject",
}


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _milliseconds(value: object) -> object:
    """SageMaker states times in milliseconds."""
    return int(value.timestamp() * 1000) if isinstance(value, datetime) else str(value)
