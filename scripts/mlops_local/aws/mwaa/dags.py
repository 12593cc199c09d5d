"""What MWAA does for its workers: copies the DAGs of the environment's bucket to where Airflow reads them.

It does so with the environment's own role, as MWAA does, which looks every 30 seconds:
https://docs.aws.amazon.com/mwaa/latest/userguide/configuring-dag-folder.html
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from mlops_local.aws.sdk import Sdk

_LOG = logging.getLogger(__name__)
_SECONDS = 2.0


class DagFolder:
    """Keeps a folder as the bucket's is, until it is closed."""

    def __init__(self, folder: Path, sdk: Sdk, environment: Callable[[], dict[str, Any] | None]) -> None:
        """Begin to look; `environment` answers the MWAA environment that runs, if one does."""
        self._folder = folder
        self._sdk = sdk
        self._environment = environment
        self._known: dict[str, str] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking; a look that nobody answers any more ends with the process."""
        self._closed.set()
        self._thread.join(timeout=1)

    def _look(self) -> None:
        while not self._closed.wait(_SECONDS):
            try:
                self.copy()
            except Exception:  # pylint: disable=broad-exception-caught  # the next look may find it mended
                _LOG.exception("the DAG folder could not be copied")

    def copy(self) -> None:
        """Take over what is new, changed or gone; everything at once, as files import each other."""
        environment = self._environment()
        if environment is None:
            return
        s3 = self._sdk.acting(environment["ExecutionRoleArn"], "airflow").s3
        bucket = environment["SourceBucketArn"].rpartition(":")[2]
        prefix = environment["DagS3Path"].strip("/") + "/"
        found = _etags(s3, bucket, prefix)
        if found == self._known:
            return
        changed = {name for name, etag in found.items() if self._known.get(name) != etag}
        drafts = {name: self._draft(s3, bucket, prefix, name) for name in sorted(changed)}
        for name, draft in drafts.items():
            draft.replace(self._folder / name)
        for name in self._known.keys() - found.keys():
            (self._folder / name).unlink(missing_ok=True)
        self._known = found

    def _draft(self, s3: S3Client, bucket: str, prefix: str, name: str) -> Path:
        file = self._folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f".{file.name}.part")
        draft.write_bytes(s3.get_object(Bucket=bucket, Key=prefix + name)["Body"].read())
        return draft


def _etags(s3: S3Client, bucket: str, prefix: str) -> dict[str, str]:
    """Each file below the prefix, by its name there; what would leave the folder is passed over."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    objects = [found for page in pages for found in page.get("Contents", ())]
    names = {found["Key"].removeprefix(prefix): found["ETag"] for found in objects}
    return {
        name: etag
        for name, etag in names.items()
        if name and not name.endswith("/") and ".." not in PurePosixPath(name).parts and name[0] != "/"
    }
