"""Objects on S3: JSON records beside a model, and listings of data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn, TypeVar

from mlops.base.errors import StorageError
from mlops.base.strict_json import dumps, loads

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError
    from mypy_boto3_s3 import S3Client

Record = TypeVar("Record")

# Records are small; a file that is not would fill a CI job's or an Airflow worker's memory.
RECORD_LIMIT = 8 * 1024 * 1024

_URI = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(?P<key>.{0,1024})", re.DOTALL)
_MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
# The object is there, or another request writes it at this moment.
_TAKEN = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict"})


@dataclass(frozen=True)
class StoredObject:
    """One line of a listing; `etag` is S3's, without its quotes."""

    key: str
    size: int
    etag: str
    modified: datetime | None = field(default=None, compare=False)


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`; the key of a bucket's root is empty.

    Raises:
        StorageError: when it is not an S3 URI.
    """
    match = _URI.fullmatch(uri)
    if not match:
        raise StorageError(f"{uri!r} is not an S3 URI", next_step="Write s3://<bucket>/<key>.")
    return match["bucket"], match["key"]


class Storage:
    """S3, addressed by `s3://bucket/key`. Every failure is a StorageError that names the object."""

    def __init__(self, s3: S3Client) -> None:
        self._s3 = s3

    def read(self, uri: str, limit: int = RECORD_LIMIT) -> bytes:
        """The content of one object of at most `limit` bytes.

        Raises:
            StorageError: when it is missing, may not be read, or is larger.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, key = split_uri(uri)
        try:
            answer = self._s3.get_object(Bucket=bucket, Key=key)
            size = answer["ContentLength"]
            if size > limit:
                answer["Body"].close()
                raise StorageError(f"{uri} is too large", cause=f"{size} bytes, at most {limit} are read")
            return answer["Body"].read()
        except (ClientError, BotoCoreError) as error:
            _refuse("read", uri, error)

    def lines(self, uri: str, limit: int) -> Iterator[bytes]:
        """The lines of an object's first `limit` bytes, with their ends; one that is cut off is left out.

        Raises:
            StorageError: when it is missing or may not be read.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, key = split_uri(uri)
        try:
            answer = self._s3.get_object(Bucket=bucket, Key=key, Range=f"bytes=0-{limit - 1}")
            size = int(answer.get("ContentRange", "/0").rpartition("/")[2])
            last = b""
            for line in answer["Body"].iter_lines(chunk_size=64 * 1024, keepends=True):
                if last:
                    yield last
                last = line
            if last and (size <= limit or last.endswith(b"\n")):
                yield last
        except (ClientError, BotoCoreError) as error:
            if _code(error) == "InvalidRange":  # there is nothing in it
                return
            _refuse("read", uri, error)

    def read_record(self, record: type[Record], uri: str, *, foreign: bool = False) -> Record:
        """One JSON object, read strictly; `foreign` as `strict_json.loads` has it.

        Raises:
            StorageError: when it is missing or may not be read.
            ContractError: when it is not JSON or not this record.
        """
        return loads(record, self.read(uri), uri, foreign=foreign)

    def write(self, content: bytes, uri: str, content_type: str = "application/octet-stream") -> None:
        """Write one object in one step, encrypted as the bucket says.

        Raises:
            StorageError: when it cannot be written.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, key = split_uri(uri)
        try:
            self._s3.put_object(Bucket=bucket, Key=key, Body=content, ContentType=content_type)
        except (ClientError, BotoCoreError) as error:
            _refuse("write", uri, error)

    def write_record(self, record: object, uri: str) -> None:
        """Write a record as the JSON that `read_record` reads.

        Raises:
            StorageError: when it cannot be written.
        """
        self.write(dumps(record).encode(), uri, "application/json")

    def create_record(self, record: object, uri: str) -> bool:
        """Write a record where nothing is yet, as one of many at once can; False if there is something.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html

        Raises:
            StorageError: when it cannot be written.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, key = split_uri(uri)
        try:
            self._s3.put_object(
                Bucket=bucket,
                Key=key,
                Body=dumps(record).encode(),
                ContentType="application/json",
                IfNoneMatch="*",
            )
        except (ClientError, BotoCoreError) as error:
            if _code(error) in _TAKEN:
                return False
            _refuse("write", uri, error)
        return True

    def age(self, uri: str) -> float:
        """How many seconds ago an object was written, by the clock of S3, which every answer states.

        Raises:
            StorageError: when there is none, or S3 does not answer.
        """
        from email.utils import parsedate_to_datetime

        from botocore.exceptions import BotoCoreError, ClientError

        bucket, key = split_uri(uri)
        try:
            answer = self._s3.head_object(Bucket=bucket, Key=key)
        except (ClientError, BotoCoreError) as error:
            _refuse("look at", uri, error)
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        now = parsedate_to_datetime(date) if date else datetime.now(UTC)
        return (now - answer["LastModified"]).total_seconds()

    def exists(self, uri: str) -> bool:
        """Whether there is such an object.

        Raises:
            StorageError: when S3 does not answer.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, key = split_uri(uri)
        try:
            self._s3.head_object(Bucket=bucket, Key=key)
        except (ClientError, BotoCoreError) as error:
            if _code(error) in _MISSING:
                return False
            _refuse("look at", uri, error)
        return True

    def delete(self, uri: str) -> None:
        """Remove one object; it is fine when there is none.

        Raises:
            StorageError: when it may not be removed.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, key = split_uri(uri)
        try:
            self._s3.delete_object(Bucket=bucket, Key=key)
        except (ClientError, BotoCoreError) as error:
            _refuse("remove", uri, error)

    def listing(self, prefix: str) -> Iterator[StoredObject]:
        """All objects whose keys begin with the prefix, in the order of their keys.

        Raises:
            StorageError: when the bucket may not be listed.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, key = split_uri(prefix)
        try:
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key):
                for item in page.get("Contents", []):
                    yield StoredObject(
                        item["Key"], item["Size"], item["ETag"].strip('"'), item["LastModified"]
                    )
        except (ClientError, BotoCoreError) as error:
            _refuse("list", prefix, error)


def _code(error: ClientError | BotoCoreError) -> str:
    response = getattr(error, "response", {})
    return str(response.get("Error", {}).get("Code", ""))


def _refuse(verb: str, uri: str, error: ClientError | BotoCoreError) -> NoReturn:
    code = _code(error)
    bucket, key = split_uri(uri)
    if code in _MISSING:
        raise StorageError(
            f"{uri} does not exist",
            cause=f"bucket {bucket} has no object with the key {key}",
            next_step="Check the path in mlops.yml, or run the stage that writes this object again.",
        ) from error
    if code == "NoSuchBucket":
        step = "Check the bucket's name and the account that the job runs in."
    elif code in {"AccessDenied", "403"}:
        step = f"Grant the role of this job access to the bucket {bucket}, and to its KMS key if it has one."
    else:
        step = "Try again; if it stays, look at the bucket and at the network between."
    raise StorageError(f"Cannot {verb} {uri}", cause=str(error), next_step=step) from error
