"""What SageMaker sends EventBridge about its jobs and endpoints.

https://docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from mlops_local.aws.sagemaker.store import Record, ResourceKind, Table, Tags

Publish = Callable[[str, str, Record], None]
"""Takes an event's type, the resource's ARN and the event's detail."""

_TITLES = {
    "TrainingJob": ("SageMaker Training Job State Change",),
    "ProcessingJob": ("SageMaker Processing Job State Change",),
    "Endpoint": ("SageMaker Endpoint State Change", "SageMaker Endpoint Deployment State Change"),
}


def watch(table: Table, tags: Tags, publish: Publish) -> None:
    """Publish each change of state of a table's records."""
    titles = _TITLES[table.kind.prefix]

    def changed(before: Record, after: Record) -> None:
        if all(before.get(member) == after.get(member) for member in (table.kind.status, "SecondaryStatus")):
            return
        arn = after[f"{table.kind.prefix}Arn"]
        detail = _detail(table.kind, after) | {"Tags": {tag["Key"]: tag["Value"] for tag in tags.of(arn)}}
        for title in titles:
            publish(title, arn, detail)

    table.changed = changed


def _detail(kind: ResourceKind, record: Record) -> dict[str, Any]:
    detail = {key: value for key, value in record.items() if value is not None}
    if kind.prefix == "Endpoint":  # InService is IN_SERVICE in events
        detail["EndpointStatus"] = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", record["EndpointStatus"]).upper()
    return detail
