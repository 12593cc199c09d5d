"""Parameter Store: the platform's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops.base.errors import ContractError, SettingsError
from mlops.base.strict_json import loads
from mlops.contracts.platform_settings import PARAMETER, PlatformSettings

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient


def read_settings(ssm: SSMClient, parameter: str = PARAMETER) -> PlatformSettings:
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
        return loads(PlatformSettings, text, parameter)
    except ContractError as error:
        raise SettingsError(
            error.what, cause=error.cause, next_step="Apply the Terraform of this release of ml-ops."
        ) from error
