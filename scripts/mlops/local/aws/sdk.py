"""Our own clients of S3 and CloudWatch Logs: what SageMaker does with them it does through their API."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mlops.local.aws.config import LocalAwsConfig

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client


class Sdk:
    """Clients of this very account, made when they are first needed."""

    def __init__(self, config: LocalAwsConfig) -> None:
        self._config = config
        self._lock = threading.Lock()

    @property
    def s3(self) -> S3Client:
        """Objects."""
        with self._lock:  # boto3 makes clients in one thread at a time
            return self._s3

    @property
    def logs(self) -> CloudWatchLogsClient:
        """Log groups."""
        with self._lock:
            return self._logs

    @cached_property
    def _s3(self) -> S3Client:
        client: S3Client = self._client("s3")
        return client

    @cached_property
    def _logs(self) -> CloudWatchLogsClient:
        client: CloudWatchLogsClient = self._client("logs")
        return client

    def _client(self, service: str) -> Any:
        import boto3
        from botocore.config import Config

        session: Any = boto3.Session(
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106  # the local account takes any
            region_name=self._config.region,
        )
        config = Config(proxies={}, retries={"max_attempts": 2}, max_pool_connections=20)
        return session.client(service, endpoint_url=self._config.endpoint, config=config)
