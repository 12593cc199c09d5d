"""The DAG folder follows the bucket: files come, change and go; none leaves the folder."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from mlops_local.aws.mwaa.dags import DagFolder
from mlops_local.aws.sdk import Sdk

ENVIRONMENT = {
    "ExecutionRoleArn": "arn:aws:iam::123456789012:role/ml-ops-airflow",
    "SourceBucketArn": "arn:aws:s3:::airflow",
    "DagS3Path": "dags",
}


class Bucket:
    """One bucket, as the clients of a role see it; it is its own paginator."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.reads = 0
        self.s3 = self

    def acting(self, role_arn: str, session: str) -> Bucket:
        assert (role_arn, session) == (ENVIRONMENT["ExecutionRoleArn"], "airflow")
        return self

    def get_paginator(self, operation: str) -> Bucket:
        assert operation == "list_objects_v2"
        return self

    def paginate(self, **wanted: str) -> Iterator[dict[str, Any]]:
        for key, body in self.objects.items():
            if key.startswith(wanted["Prefix"]):
                yield {"Contents": [{"Key": key, "ETag": hashlib.sha256(body).hexdigest()}]}

    def get_object(self, **wanted: str) -> dict[str, Any]:
        self.reads += 1
        return {"Body": io.BytesIO(self.objects[wanted["Key"]])}


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def folder(bucket: Bucket, tmp_path: Path) -> Iterator[DagFolder]:
    made = DagFolder(tmp_path / "dags", cast(Sdk, bucket), lambda: ENVIRONMENT)
    made.close()  # looks happen when a test asks for them
    yield made


def test_files_come_change_and_go(folder: DagFolder, bucket: Bucket, tmp_path: Path) -> None:
    bucket.objects = {"dags/one.py": b"1", "dags/inner/two.py": b"2", "plugins.zip": b"no DAG"}
    folder.copy()
    assert (tmp_path / "dags" / "inner" / "two.py").read_bytes() == b"2"
    bucket.objects = {"dags/one.py": b"changed"}
    folder.copy()
    assert [(file.name, file.read_bytes()) for file in (tmp_path / "dags").rglob("*.py")] == [
        ("one.py", b"changed")
    ]
    assert not (tmp_path / "dags" / "plugins.zip").exists()


def test_what_is_there_is_not_read_again(folder: DagFolder, bucket: Bucket) -> None:
    bucket.objects = {"dags/one.py": b"1"}
    folder.copy()
    folder.copy()
    assert bucket.reads == 1


def test_no_file_leaves_the_folder(folder: DagFolder, bucket: Bucket, tmp_path: Path) -> None:
    bucket.objects = {"dags/../above.py": b"1", "dags//absolute.py": b"1", "dags/": b""}
    folder.copy()
    assert not list(tmp_path.rglob("*.py"))


def test_without_an_environment_nothing_happens(bucket: Bucket, tmp_path: Path) -> None:
    alone = DagFolder(tmp_path / "dags", cast(Sdk, bucket), lambda: None)
    alone.close()
    alone.copy()
    assert bucket.reads == 0
