"""What the platform says of itself: one JSON document in Parameter Store, written by Terraform.

CI jobs and DAG tasks read it at run time, so nothing of an account is written in a model repo or an image,
and a conf cannot choose its own role, bucket or topic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops.decode import loads
from mlops.errors import ContractError, SettingsError

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

PARAMETER = "/ml-ops/settings"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One environment of the platform."""

    environment: str
    region: str
    bucket: str
    """Data, models and evidence."""
    execution_role_arn: str
    """The role SageMaker's jobs and endpoints take."""
    topic_arn: str
    """The SNS topic that reaches e-mail."""
    trigger_function: str
    """The Lambda `dag-trigger`."""
    airflow_environment: str
    slack_secret: str
    """The Secrets Manager id of Airflow's Slack connection, `airflow/connections/slack`."""
    log_group_url: str = ""
    """Where a person finds the logs of jobs; `{group}` and `{stream}` are replaced."""


def read_settings(ssm: SSMClient, parameter: str = PARAMETER) -> Settings:
    """Read the settings of this account.

    Raises:
        SettingsError: when there are none or they do not fit this release.
    """
    from botocore.exceptions import ClientError

    try:
        text = ssm.get_parameter(Name=parameter)["Parameter"]["Value"]
    except ClientError as error:
        raise SettingsError(
            f"The platform's settings {parameter} cannot be read",
            cause=str(error),
            next_step="Apply this environment's Terraform, or let the job's role read the parameter.",
        ) from error
    try:
        return loads(Settings, text, parameter)
    except ContractError as error:
        raise SettingsError(
            error.what, cause=error.cause, next_step="Apply the Terraform of this release of ml-ops."
        ) from error
