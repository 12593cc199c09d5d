"""Alarms that look at their metrics, send EventBridge each change, and write to their topics.

moto keeps alarms and metrics, and never compares them. Here one is looked at when a value of its metric
arrives: over its last periods, up to that of the newest value. Alarms on expressions, and on other alarms,
change by SetAlarmState alone.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from moto.cloudwatch.models import Alarm, CloudWatchBackend

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
_STATISTICS: dict[str, Callable[[Sequence[float]], float]] = {
    "Sum": sum,
    "Maximum": max,
    "Minimum": min,
    "SampleCount": lambda values: float(len(values)),
    "Average": lambda values: sum(values) / len(values),
}


class Bus(Protocol):
    """What is needed of `event_bus.EventBus`."""

    def publish(self, source: str, detail_type: str, detail: Any, *resources: str) -> None: ...


def install(bus: Bus) -> None:
    """Have moto's alarms work."""
    from moto.cloudwatch.models import Alarm, CloudWatchBackend

    keep: Callable[..., None] = CloudWatchBackend.put_metric_data
    change: Callable[..., None] = Alarm.update_state

    def put_metric_data(self: CloudWatchBackend, namespace: str, metric_data: list[dict[str, Any]]) -> None:
        keep(self, namespace, metric_data)
        names = {one["MetricName"] for one in metric_data}
        for alarm in list(self.alarms.values()):
            if alarm.namespace == namespace and alarm.metric_name in names:
                _look(self, alarm)

    def update_state(self: Alarm, reason: str, reason_data: str, state_value: str) -> None:
        before = _state(self)
        change(self, reason, reason_data, state_value)
        if before["value"] != state_value:
            detail = {
                "alarmName": self.name,
                "state": _state(self),
                "previousState": before,
                "configuration": _configuration(self),
            }
            bus.publish("aws.cloudwatch", "CloudWatch Alarm State Change", detail, self.alarm_arn)
            _write(self)

    CloudWatchBackend.put_metric_data = put_metric_data  # type: ignore[method-assign]
    Alarm.update_state = update_state  # type: ignore[method-assign]


def _look(backend: CloudWatchBackend, alarm: Alarm) -> None:
    compare = _COMPARISONS.get(alarm.comparison_operator)
    statistic = _STATISTICS.get(alarm.statistic or "")
    if compare is None or statistic is None:
        return
    wanted = {(one.name, one.value) for one in alarm.dimensions}
    found = [
        (int(datum.timestamp.timestamp()) // alarm.period, float(datum.value))
        for datum in backend.metric_data
        if (datum.namespace, datum.name) == (alarm.namespace, alarm.metric_name)
        and {(one.name, one.value) for one in datum.dimensions} == wanted
        and hasattr(datum, "value")
    ]
    if not found:
        return
    newest = max(period for period, _ in found)
    breaching, seen = 0, []
    for period in range(newest - alarm.evaluation_periods + 1, newest + 1):
        values = [value for at, value in found if at == period]
        if values:
            seen.append(statistic(values))
            breaching += compare(seen[-1], alarm.threshold)
        else:
            breaching += alarm.treat_missing_data == "breaching"
    state = "ALARM" if breaching >= (alarm.datapoints_to_alarm or alarm.evaluation_periods) else "OK"
    if state != alarm.state_value:
        points = ", ".join(f"{value:g}" for value in seen)
        reason = f"Threshold Crossed: {breaching} of {alarm.evaluation_periods} datapoints [{points}] "
        alarm.update_state(f"{reason}{alarm.comparison_operator} ({alarm.threshold:g}).", "{}", state)


def _state(alarm: Alarm) -> dict[str, str]:
    return {
        "value": alarm.state_value,
        "reason": alarm.state_reason,
        "reasonData": alarm.state_reason_data,
        "timestamp": f"{alarm.state_updated_timestamp:%Y-%m-%dT%H:%M:%S}.000+0000",
    }


def _configuration(alarm: Alarm) -> dict[str, Any]:
    metric = {
        "namespace": alarm.namespace,
        "name": alarm.metric_name,
        "dimensions": {one.name: one.value for one in alarm.dimensions},
    }
    measured = {"metric": metric, "period": alarm.period, "stat": alarm.statistic}
    return {
        "description": alarm.description,
        "metrics": [{"id": alarm.name, "metricStat": measured, "returnData": True}],
    }


def _write(alarm: Alarm) -> None:
    """What CloudWatch writes to the topics that an alarm's actions name."""
    from moto.sns.models import sns_backends

    actions = {
        "ALARM": alarm.alarm_actions,
        "OK": alarm.ok_actions,
        "INSUFFICIENT_DATA": alarm.insufficient_data_actions,
    }
    message = {
        "AlarmName": alarm.name,
        "AlarmDescription": alarm.description,
        "NewStateValue": alarm.state_value,
        "NewStateReason": alarm.state_reason,
        "AlarmArn": alarm.alarm_arn,
    }
    for arn in actions[alarm.state_value] if alarm.actions_enabled else []:
        _, _, service, region, account, _ = arn.split(":", 5)
        if service == "sns":
            subject = f'{alarm.state_value}: "{alarm.name}"'[:100]
            sns_backends[account][region].publish(json.dumps(message), arn=arn, subject=subject)
