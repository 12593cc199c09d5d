"""Data on its way between S3 and a container's folders."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class MissingInputError(Exception):
    """There is nothing at that URI; the message is SageMaker's own."""


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`."""
    bucket, _, key = uri.partition("://")[2].partition("/")
    return bucket, key


def download_prefix(s3: S3Client, uri: str, folder: Path, *, region: str, role: str) -> None:
    """Copy every object whose key begins with the URI's into a folder, below the name after the prefix.

    Raises:
        MissingInputError: when there is none.
    """
    bucket, prefix = split(uri)
    folder.mkdir(parents=True, exist_ok=True)
    found = False
    try:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for item in (item for page in pages for item in page.get("Contents", [])):
            key = item["Key"]
            name = key[len(prefix) :].lstrip("/") or key.rpartition("/")[2]
            if key.endswith("/"):  # what consoles make to show a folder
                continue
            target = folder / name
            if not target.resolve().is_relative_to(folder.resolve()):
                raise MissingInputError(f"Object {key!r} would be written outside its channel")
            download(s3, f"s3://{bucket}/{key}", target)
            found = True
    except (ClientError, BotoCoreError) as error:
        raise MissingInputError(_nothing(uri, bucket, region, role, str(error))) from error
    if not found:
        raise MissingInputError(_nothing(uri, bucket, region, role, ""))


def download(s3: S3Client, uri: str, target: Path) -> None:
    """Copy one object to a file.

    Raises:
        ClientError: when it is not there.
    """
    bucket, key = split(uri)
    body = s3.get_object(Bucket=bucket, Key=key)["Body"]
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        shutil.copyfileobj(body, file)


def exists(s3: S3Client, uri: str) -> bool:
    """Whether there is such an object."""
    bucket, key = split(uri)
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError:
        return False
    return True


def upload(s3: S3Client, file: Path, uri: str) -> None:
    """Copy a file to an object.

    Raises:
        ClientError: when the bucket does not take it.
    """
    bucket, key = split(uri)
    with file.open("rb") as body:
        s3.put_object(Bucket=bucket, Key=key, Body=body)


def upload_folder(s3: S3Client, folder: Path, uri: str) -> None:
    """Copy all files of a folder below a prefix.

    Raises:
        ClientError: when the bucket does not take them.
    """
    for file in sorted(folder.rglob("*")):
        # a link could lead to any file of this machine
        if file.is_file() and file.resolve().is_relative_to(folder.resolve()):
            upload(s3, file, f"{uri.rstrip('/')}/{file.relative_to(folder)}")


def _nothing(uri: str, bucket: str, region: str, role: str, error: str) -> str:
    return (
        f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the bucket '
        f"exists in the selected region ({region}), that objects exist under that S3 prefix, and that the "
        f'role "{role}" has "s3:ListBucket" permissions on bucket "{bucket}".'
        + (f" Error message from S3: {error}" if error else "")
    )
