"""Our own clients of S3 and CloudWatch Logs: what SageMaker does with them it does through their API."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mlops_local.aws.access.principals import Principals
from mlops_local.base.config import LocalAwsConfig
from mlops_local.base.wire import ServiceError

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client

_LOCK = threading.Lock()  # boto3 makes clients in one thread at a time


class Sdk:
    """Clients of this account, made when they are first needed: the account's own, or those of a role."""

    def __init__(
        self,
        config: LocalAwsConfig,
        principals: Principals,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._config = config
        self._principals = principals
        self._roles: dict[tuple[str, str], Sdk] = {}
        self.variables = dict(variables or {})
        """The credentials, as a process finds them in its environment; none for the account's own."""

    def acting(self, role_arn: str, session: str = "SageMaker") -> Sdk:
        """The clients that a service has in the name of a role."""
        with _LOCK:
            key = (role_arn, session)
            if key not in self._roles:
                variables = self._principals.variables(role_arn, session)
                self._roles[key] = Sdk(self._config, self._principals, variables)
            return self._roles[key]

    def check_role(self, role_arn: str, service: str = "sagemaker") -> None:
        """Refuse a role that a service cannot take, as SageMaker words it.

        https://github.com/awslabs/predictive-maintenance-using-machine-learning/issues/3

        Raises:
            ServiceError: `ValidationException`.
        """
        principal = f"{service}.amazonaws.com"
        if not self._principals.trusted(role_arn, principal):
            raise ServiceError(
                "ValidationException",
                f"Could not assume role {role_arn}. Please ensure that the role exists and allows principal "
                f"'{principal}' to assume the role.",
            )

    @property
    def s3(self) -> S3Client:
        """Objects."""
        with _LOCK:
            return self._s3

    @property
    def logs(self) -> CloudWatchLogsClient:
        """Log groups."""
        with _LOCK:
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

        ours = {"AWS_ACCESS_KEY_ID": self._config.access_key, "AWS_SECRET_ACCESS_KEY": "test"}
        session: Any = boto3.Session(
            region_name=self._config.region,
            **{name.lower(): value for name, value in (ours | self.variables).items()},  # type: ignore[arg-type]
        )
        config = Config(proxies={}, retries={"max_attempts": 2}, max_pool_connections=20)
        return session.client(service, endpoint_url=self._config.endpoint, config=config)
