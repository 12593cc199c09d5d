"""S3 buckets: whether one is there, and in which region."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class BucketClosedError(Exception):
    """S3 does not let us look at the bucket; the message is what it says."""


class S3UnreachableError(Exception):
    """S3 could not be asked; the message says why."""


def bucket_region(s3: S3Client, bucket: str) -> str | None:
    """The region of a bucket; empty when S3 does not say, None when there is no such bucket.

    Raises:
        BucketClosedError: when it is closed to us.
        S3UnreachableError: when S3 could not be asked.
    """
    from botocore.exceptions import ClientError, EndpointConnectionError

    try:
        found = s3.head_bucket(Bucket=bucket)
    except EndpointConnectionError as error:
        raise S3UnreachableError(str(error)) from error
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return None
        raise BucketClosedError(str(error)) from error
    return found.get("BucketRegion", "")
