"""What services need of the encryption key, on their caller's behalf.

A permission for the key is easily forgotten, and no request names it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlops_local.aws.access.calls import AccountRegion, Call

_READ, _WRITE = ("kms:Decrypt",), ("kms:GenerateDataKey", "kms:Decrypt")
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html#require-sse-kms
# https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
# https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html
# https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-securestring.html
_NEEDED = {
    "s3:GetObject": _READ,
    "s3:PutObject": ("kms:GenerateDataKey",),
    "sns:Publish": _WRITE,
    "sqs:SendMessage": _WRITE,
    "secretsmanager:GetSecretValue": _READ,
    "ssm:GetParameter": _READ,
}


def needed(call: Call, place: AccountRegion) -> Iterator[Call]:
    """The uses of a key behind one call."""
    actions = _NEEDED.get(call.action)
    if actions is None or not call.resources:
        return
    service = call.action.partition(":")[0]
    key = _key(service, call.resources[0], place)
    if not key:
        return
    arn, aliases = _described(key, place)
    context = {
        "kms:viaservice": (f"{service}.{place.region}.amazonaws.com",),
        "kms:resourcealiases": aliases,
        "kms:calleraccount": (place.account,),
    }
    for action in actions:
        yield Call(action, (arn,), context, through=service)


def _key(service: str, resource: str, place: AccountRegion) -> str:
    """The key a resource is encrypted with; empty for AWS's own, which everybody may use."""
    return str(_KEYS[service](resource, place) or "")


def _of_bucket(resource: str, place: AccountRegion) -> Any:
    from moto.s3.models import s3_backends

    bucket = s3_backends[place.account]["aws"].buckets.get(resource.rpartition(":")[2].partition("/")[0])
    rule = ((bucket.encryption if bucket else None) or {}).get("Rule") or {}
    return rule.get("ApplyServerSideEncryptionByDefault", {}).get("KMSMasterKeyID")


def _of_topic(resource: str, place: AccountRegion) -> Any:
    from moto.sns.models import sns_backends

    topic = sns_backends[place.account][place.region].topics.get(resource)
    return topic.kms_master_key_id if topic else None


def _of_queue(resource: str, place: AccountRegion) -> Any:
    from moto.sqs.models import sqs_backends

    queue = sqs_backends[place.account][place.region].queues.get(resource.rpartition(":")[2])
    return getattr(queue, "kms_master_key_id", None)


def _of_secret(resource: str, place: AccountRegion) -> Any:
    from moto.secretsmanager.models import secretsmanager_backends

    secrets = secretsmanager_backends[place.account][place.region].secrets
    name = resource.rpartition(":secret:")[2]
    # a hyphen and six characters end the ARN of the secret of that name
    secret: Any = secrets.get(name[:-7]) or secrets.get(name)
    return secret.kms_key_id if secret else None


def _of_parameter(resource: str, place: AccountRegion) -> Any:
    from moto.ssm.models import ssm_backends

    name = resource.partition(":parameter/")[2]
    backend = ssm_backends[place.account][place.region]
    parameter: Any = backend.get_parameter("/" + name) or backend.get_parameter(name)
    return parameter.keyid if parameter and parameter.parameter_type == "SecureString" else None


_KEYS = {
    "s3": _of_bucket,
    "sns": _of_topic,
    "sqs": _of_queue,
    "secretsmanager": _of_secret,
    "ssm": _of_parameter,
}


def _described(key: str, place: AccountRegion) -> tuple[str, tuple[str, ...]]:
    """A key's ARN, and its aliases."""
    from moto.kms.models import kms_backends

    backend = kms_backends[place.account][place.region]
    try:
        found = backend.describe_key(key)
    except (KeyError, AttributeError):
        return key, ()
    return str(found.arn), tuple(found.aliases)
