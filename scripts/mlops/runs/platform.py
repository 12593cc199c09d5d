"""The services of the environment that a command works in, connected in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops.runs.airflow_runs import Clock, Runs

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_sagemaker import SageMakerClient

    from mlops.clients.aws.s3 import Storage


@dataclass(frozen=True, kw_only=True)
class Platform:
    """What Terraform made for the account and region of the job's role."""

    bucket: str
    """Where data, evidence and records lie."""
    runs: Runs
    """Starts DAG runs, and says how they are."""
    storage: Storage
    sagemaker: SageMakerClient
    ecr: ECRClient
    cloudwatch: CloudWatchClient
    clock: Clock = Clock()  # noqa: RUF009  # frozen

    @classmethod
    def connect(cls) -> Platform:
        """Read the platform's settings once, and make its clients.

        Raises:
            AuthenticationError: when the job has no credentials.
            SettingsError: when no region is set, or the platform left no settings in it.
        """
        from mlops.clients.aws.parameter_store import read_settings
        from mlops.clients.aws.s3 import Storage
        from mlops.clients.aws.session import client
        from mlops.clients.aws.trigger import Trigger

        settings = read_settings(client("ssm"))
        storage = Storage(client("s3"))
        return cls(
            bucket=settings.bucket,
            runs=Trigger(client("lambda"), settings.trigger_function, storage),
            storage=storage,
            sagemaker=client("sagemaker"),
            ecr=client("ecr"),
            cloudwatch=client("cloudwatch"),
        )
