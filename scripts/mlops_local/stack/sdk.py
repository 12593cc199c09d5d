"""AWS clients of a local stack, for what a person does by hand in a real account."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops_local.stack.stack import Stack


def client(stack: Stack, service: str) -> Any:
    """A boto3 client that talks to this stack whatever the caller's own AWS variables say."""
    return _client(stack.aws_endpoint, stack.region, service, stack.access_key)


@cache
def _client(endpoint: str, region: str, service: str, access_key: str) -> Any:
    import boto3
    from botocore.config import Config

    session: Any = boto3.Session(access_key, "test", region_name=region)
    return session.client(
        service,
        endpoint_url=endpoint,
        config=Config(proxies={}, inject_host_prefix=False, retries={"max_attempts": 2}),
    )
