"""Whose credentials these are, and whether Terraform's state can be reached: asked before Terraform starts.

It would say the same less clearly, and later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops.base.errors import AuthenticationError, StateUnreachableError
from mlops.clients.aws.buckets import BucketClosedError, S3UnreachableError, bucket_region

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sts import STSClient

    from mlops.platform.environment import Environment


def check_account(environment: Environment, sts: STSClient) -> str:
    """Whose credentials these are.

    Raises:
        AuthenticationError: when they belong to another account than the environment.
    """
    identity = sts.get_caller_identity()
    if identity["Account"] != environment.account_id:
        raise AuthenticationError(
            f"The credentials belong to another AWS account than {environment.name}",
            cause=f"they are {identity['Arn']};"
            f" {environment.values} says account_id = {environment.account_id}",
            next_step="Take a role of that account: plan-role-arn and apply-role-arn of the template, or a"
            " profile by AWS_PROFILE.",
        )
    return identity["Arn"]


def check_state(environment: Environment, s3: S3Client) -> None:
    """Whether Terraform's state can be reached, before Terraform says less clearly that it cannot.

    Raises:
        StateUnreachableError: when the bucket is missing, closed to us or in another region.
    """
    if not state_bucket_exists(environment, s3):
        raise StateUnreachableError(
            f"The bucket {environment.bucket} of Terraform's state does not exist",
            cause=f"{environment.backend} names it",
            next_step=f"An administrator makes it: mlops terraform bootstrap {environment.name}",
        )


def state_bucket_exists(environment: Environment, s3: S3Client) -> bool:
    """Whether the bucket is there, and ours.

    Raises:
        StateUnreachableError: when it is closed to us, or in another region.
    """
    bucket, where = environment.bucket, environment.backend
    try:
        region = bucket_region(s3, bucket)
    except S3UnreachableError as error:
        raise StateUnreachableError(
            "Terraform's state cannot be reached",
            cause=str(error),
            next_step=f"Look at the network between this machine and S3, and at the region in {where}.",
        ) from error
    except BucketClosedError as error:
        raise StateUnreachableError(
            f"The bucket {bucket} of Terraform's state is closed to us",
            cause=f"{error}. Another account may have a bucket of this name.",
            next_step=f"Let this role list, read and write the bucket, or correct {where}.",
        ) from error
    if region is None:
        return False
    actual = region or environment.bucket_region
    if actual != environment.bucket_region:
        raise StateUnreachableError(
            f"The bucket {bucket} of Terraform's state is in another region",
            cause=f"it is in {actual}; {where} says {environment.bucket_region}",
            next_step=f'Write region = "{actual}" there.',
        )
    return True
