"""Which services of AWS answer here, and what of them reports work that nothing does.

moto knows some 200 services. Most keep what they are given; where one answers as if work had been done (a
machine runs, a query has results, an export is complete), a rehearsal would be green here and red in an
account. So a service is one of these or is refused, and so is each of its operations that asks for work.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

# By the name in a request's signature.
PLAYED = frozenset(
    {
        "airflow",
        "budgets",
        "ec2",
        "ecr",
        "events",
        "firehose",
        "iam",
        "kms",
        "lambda",
        "logs",
        "monitoring",
        "s3",
        "sagemaker",
        "scheduler",
        "secretsmanager",
        "sns",
        "sqs",
        "ssm",
        "sts",
    }
)

# Operations that ask for work, and no state: no part of the stack does it, whatever moto answers.
WORK: dict[str, re.Pattern[str]] = {
    # The network alone: no machine starts.
    "ec2": re.compile(
        r"(?!.*(Vpc|Subnet|Route|SecurityGroup|NatGateway|InternetGateway|Address|FlowLog|Tags|PrefixList"
        r"|AvailabilityZone|NetworkInterface|NetworkAcl|Regions|AccountAttribute)).*"
    ),
    "ecr": re.compile(r"StartImageScan|CreatePullThroughCacheRule|.*LifecyclePolicyPreview"),
    "events": re.compile(r"StartReplay|CancelReplay|TestEventPattern"),
    "iam": re.compile(r"Generate.*|Simulate.*"),
    "logs": re.compile(
        r"StartQuery|StopQuery|GetQueryResults|StartLiveTail|CreateExportTask|TestMetricFilter"
    ),
    "secretsmanager": re.compile(r"RotateSecret|ReplicateSecretToRegions"),
    "sns": re.compile(r"PublishBatch|.*SMS.*|.*PlatformEndpoint|.*PlatformApplication.*"),
    "sqs": re.compile(r"StartMessageMoveTask|CancelMessageMoveTask"),
    "ssm": re.compile(r"Send.*|Start.*|Resume.*|Terminate.*|.*Association.*|.*Patch.*|.*MaintenanceWindow.*"),
}


def refused(service: str, target: str, query: str, body: bytes) -> str:
    """The name of a call that is not played; empty for one that is.

    Args:
        service: The name in the request's signature.
        target: The header X-Amz-Target, which names the operation of APIs that speak JSON.
        query: Of the URL, and
        body: of the request: they name the operation of APIs that speak the query protocol.
    """
    operation = target.rpartition(".")[2]
    if not operation and service in ("ec2", "iam", "sns", "sqs", "sts", "monitoring"):
        operation = dict(parse_qsl(f"{query}&{body.decode(errors='replace')}")).get("Action", "")
    if service not in PLAYED:
        return f"{service}:{operation or '*'}"
    pattern = WORK.get(service)
    return f"{service}:{operation}" if operation and pattern and pattern.fullmatch(operation) else ""
