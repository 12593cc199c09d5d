"""MWAA's environments as Terraform sees them: their states, what is checked, what an update leaves as it was.

https://docs.aws.amazon.com/mwaa/latest/API/API_Environment.html
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlops_local.aws.account import AccountError
from mlops_local.base.config import LocalAwsConfig
from mlops_local.base.wire import ServiceError

if TYPE_CHECKING:
    from mlops_local.aws.sdk import Sdk

AIRFLOW_VERSION = "3.2.1"
# https://docs.aws.amazon.com/mwaa/latest/userguide/airflow-versions.html
_OFFERED = ("2.10.1", "2.10.3", "2.11.0", "3.0.6", AIRFLOW_VERSION)
# Seconds of CREATING, UPDATING and DELETING: a client sees each, on a busy machine too. AWS takes half hours.
_SETTLES = 3.0
# Each part that logs, by its name in the API and in its log group.
_LOGS = {
    "DagProcessingLogs": "DAGProcessing",
    "SchedulerLogs": "Scheduler",
    "TaskLogs": "Task",
    "WebserverLogs": "WebServer",
    "WorkerLogs": "Worker",
}
# Files of the bucket that an environment names by their versions.
_VERSIONED = ("Plugins", "Requirements", "StartupScript")

Parameters = dict[str, Any]


class Environments:
    """The environments of one account. Every method takes and answers an operation's members."""

    def __init__(self, config: LocalAwsConfig, sdk: Sdk) -> None:
        self._config = config
        self._sdk = sdk
        self._found: dict[str, dict[str, Any]] = {}
        self._settled: dict[str, float] = {}
        self._lock = threading.Lock()
        if config.airflow_environment:
            present = {
                "Name": config.airflow_environment,
                "DagS3Path": "dags",
                "SourceBucketArn": f"arn:aws:s3:::ml-ops-local-{config.account}",
                "ExecutionRoleArn": f"arn:aws:iam::{config.account}:role/ml-ops-airflow",
                "NetworkConfiguration": {},
            }
            self._add(present, "AVAILABLE")

    def keep(self) -> Any:
        """The environments, for a snapshot of the account.

        Raises:
            AccountError: while one comes, goes or changes.
        """
        with self._lock:
            self._settle()
            if self._settled:
                raise AccountError("an MWAA environment is not settled")
            return {name: dict(environment) for name, environment in self._found.items()}

    def restore(self, kept: Any) -> None:
        """Have the environments of a snapshot."""
        with self._lock:
            self._found, self._settled = kept, {}

    def names(self) -> list[str]:
        """Those there are, also while they come and go."""
        with self._lock:
            self._settle()
            return sorted(self._found)

    def execution_role(self) -> str:
        """The ARN of the role of the environment that came last; empty while there is none."""
        with self._lock:
            roles = [environment["ExecutionRoleArn"] for environment in self._found.values()]
        return str(roles[-1]) if roles else ""

    def running(self) -> dict[str, Any] | None:
        """The environment that came last, once it is there."""
        with self._lock:
            self._settle()
            found = [one for one in self._found.values() if one["Status"] in ("AVAILABLE", "UPDATING")]
            return dict(found[-1]) if found else None

    def get(self, name: str) -> dict[str, Any]:
        """One environment.

        Raises:
            ServiceError: `ResourceNotFoundException`.
        """
        with self._lock:
            return dict(self._get(name))

    def create(self, wanted: Parameters) -> Parameters:
        """CreateEnvironment."""
        name = wanted["Name"]
        self._check_source(wanted)
        _check_version(wanted.get("AirflowVersion", AIRFLOW_VERSION))
        with self._lock:
            self._settle()
            if name in self._found:
                raise ServiceError("ValidationException", f"Environment {name} already exists")
            environment = self._add(wanted, "CREATING")
        self._make_log_groups(environment)
        return {"Arn": environment["Arn"]}

    def update(self, wanted: Parameters) -> Parameters:
        """UpdateEnvironment: what it does not name stays."""
        name = wanted["Name"]
        present = self.get(name)
        self._check_source(present | wanted)
        if "AirflowVersion" in wanted:
            _check_version(wanted["AirflowVersion"], present["AirflowVersion"])
        with self._lock:
            environment = self._available(name, "updated")
            logging = wanted.pop("LoggingConfiguration", None) or {}
            for part, settings in logging.items():
                environment["LoggingConfiguration"][part].update(settings)
            # A network stays; only its security groups change.
            network = wanted.pop("NetworkConfiguration", None) or {}
            environment["NetworkConfiguration"] |= network
            strategy = wanted.pop("WorkerReplacementStrategy", "FORCED")
            environment |= wanted
            environment["LastUpdate"] = {
                "Status": "PENDING",
                "CreatedAt": datetime.now(UTC),
                "WorkerReplacementStrategy": strategy,
            }
            self._begin(environment, "UPDATING")
        self._make_log_groups(environment)
        return {"Arn": environment["Arn"]}

    def delete(self, wanted: Parameters) -> Parameters:
        """DeleteEnvironment; its log groups stay, as AWS leaves them."""
        with self._lock:
            self._begin(self._available(wanted["Name"], "deleted"), "DELETING")
            return {}

    def tags(self, wanted: Parameters) -> Parameters:
        """ListTagsForResource."""
        with self._lock:
            return {"Tags": self._by_arn(wanted).get("Tags") or {}}

    def tag(self, wanted: Parameters) -> Parameters:
        """TagResource."""
        with self._lock:
            environment = self._by_arn(wanted)
            environment["Tags"] = {**(environment.get("Tags") or {}), **wanted["Tags"]}
            return {}

    def untag(self, wanted: Parameters) -> Parameters:
        """UntagResource."""
        with self._lock:
            environment = self._by_arn(wanted)
            tags = environment.get("Tags") or {}
            environment["Tags"] = {key: tags[key] for key in tags if key not in wanted["tagKeys"]} or None
            return {}

    def _get(self, name: str) -> dict[str, Any]:
        self._settle()
        environment = self._found.get(name)
        if environment is None:
            raise ServiceError("ResourceNotFoundException", f"Environment {name} not found", status=404)
        return environment

    def _by_arn(self, wanted: Parameters) -> dict[str, Any]:
        return self._get(wanted["ResourceArn"].rpartition("/")[2])

    def _available(self, name: str, done: str) -> dict[str, Any]:
        environment = self._get(name)
        if environment["Status"] != "AVAILABLE":
            raise ServiceError(
                "ValidationException",
                f"Environment {name} cannot be {done} while its status is {environment['Status']}",
            )
        return environment

    def _begin(self, environment: dict[str, Any], status: str) -> None:
        environment["Status"] = status
        self._settled[environment["Name"]] = time.monotonic() + _SETTLES

    def _settle(self) -> None:
        """End what has begun and whose time is over."""
        now = time.monotonic()
        for name in [name for name, moment in self._settled.items() if moment <= now]:
            del self._settled[name]
            if self._found[name]["Status"] == "DELETING":
                del self._found[name]
            else:
                self._found[name]["Status"] = "AVAILABLE"
                self._found[name]["LastUpdate"]["Status"] = "SUCCESS"

    def _add(self, wanted: Parameters, status: str) -> dict[str, Any]:
        name, now = wanted["Name"], datetime.now(UTC)
        logging = {
            part: {
                "Enabled": False,
                "LogLevel": "INFO",
                **((wanted.get("LoggingConfiguration") or {}).get(part) or {}),
                "CloudWatchLogGroupArn": self._config.arn("logs", f"log-group:airflow-{name}-{group}"),
            }
            for part, group in _LOGS.items()
        }
        environment = {
            "AirflowVersion": AIRFLOW_VERSION,
            "EnvironmentClass": "mw1.small",
            "MaxWorkers": 10,
            "MinWorkers": 1,
            "Schedulers": 2,
            "MinWebservers": 2,
            "MaxWebservers": 2,
            "WebserverAccessMode": "PRIVATE_ONLY",
            "WeeklyMaintenanceWindowStart": "SUN:03:30",
            "EndpointManagement": "SERVICE",
            **wanted,
            "Arn": self._config.arn("airflow", f"environment/{name}"),
            "Status": status,
            "CreatedAt": now,
            "LastUpdate": {"Status": "PENDING" if status == "CREATING" else "SUCCESS", "CreatedAt": now},
            "LoggingConfiguration": logging,
            "ServiceRoleArn": (
                f"arn:aws:iam::{self._config.account}:role/aws-service-role/airflow.amazonaws.com/"
                "AWSServiceRoleForAmazonMWAA"
            ),
            "WebserverUrl": self._config.airflow_url.replace("http://", "https://", 1),
        }
        self._found[name] = environment
        if status != "AVAILABLE":
            self._begin(environment, status)
        return environment

    def _make_log_groups(self, environment: Mapping[str, Any]) -> None:
        """Of every part that logs; one that is there is taken."""
        from botocore.exceptions import ClientError

        for part in environment["LoggingConfiguration"].values():
            if part["Enabled"]:
                try:
                    self._sdk.logs.create_log_group(
                        logGroupName=part["CloudWatchLogGroupArn"].rpartition(":")[2]
                    )
                except ClientError as error:
                    if error.response["Error"]["Code"] != "ResourceAlreadyExistsException":
                        raise

    def _check_source(self, wanted: Mapping[str, Any]) -> None:
        """The bucket is closed and keeps versions, and holds those that are named."""
        from botocore.exceptions import ClientError

        bucket, s3 = wanted["SourceBucketArn"].rpartition(":")[2], self._sdk.s3
        try:
            blocked = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
            versioning = s3.get_bucket_versioning(Bucket=bucket).get("Status")
        except ClientError as error:
            raise ServiceError(
                "ValidationException",
                f"Unable to read PublicAccessBlock configuration for the bucket {bucket}",
            ) from error
        if not all(blocked.values()) or versioning != "Enabled":
            raise ServiceError(
                "ValidationException", f"The bucket {bucket} must block public access and keep versions"
            )
        for file in _VERSIONED:
            path, version = wanted.get(f"{file}S3Path"), wanted.get(f"{file}S3ObjectVersion")
            if path and not version:
                raise ServiceError("ValidationException", f"{file}S3ObjectVersion is required for {path}")
            if path and version:
                try:
                    s3.head_object(Bucket=bucket, Key=path, VersionId=version)
                except ClientError as error:
                    message = f"There is no version {version} of {path} in the bucket {bucket}"
                    raise ServiceError("ValidationException", message) from error


def _check_version(wanted: str, present: str = "") -> None:
    """MWAA offers it, and can go there in place: not from one major version to another."""
    if wanted not in _OFFERED:
        offered = ", ".join(_OFFERED)
        raise ServiceError(
            "ValidationException", f"AirflowVersion {wanted} is not supported. Supported: {offered}"
        )
    if present and wanted.partition(".")[0] != present.partition(".")[0]:
        raise ServiceError("ValidationException", f"An update from {present} to {wanted} is not supported")
