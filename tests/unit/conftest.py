"""What tests of several folders share: a small account in memory, and valid records."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from mlops.contracts.runs import DeploymentConf, TrainingConf
from mlops.manifest import reader
from mlops.manifest.reader import Model
from tests.unit.confs import DEPLOYMENT, TRAINING
from tests.unit.world import BUCKET, MANIFEST, MODEL, PROJECT, World


@cache
def _client(name: str) -> Any:
    """Made once: that takes longer than most tests. Importing moto first makes its calls moto's."""
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="eu-west-1")
    made: Any = session.client(name)  # type: ignore[call-overload]
    made.meta.events.register("after-call.sagemaker.ListModels", _newest_first)
    return made


def _newest_first(parsed: dict[str, Any], **_: object) -> None:
    """Moto lists models as they were made, whatever order was asked for."""
    parsed["Models"].reverse()


@pytest.fixture
def world() -> Iterator[World]:
    with mock_aws():
        world = World(s3=_client("s3"), sagemaker=_client("sagemaker"), ecr=_client("ecr"))
        world.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        world.ecr.create_repository(repositoryName=f"{PROJECT}/{MODEL}")
        yield world


@pytest.fixture
def model(tmp_path: Path) -> Model:
    (tmp_path / "mlops.yml").write_text(MANIFEST, encoding="utf-8")
    return reader.load(tmp_path / "mlops.yml").model()


@pytest.fixture
def training() -> TrainingConf:
    return TRAINING


@pytest.fixture
def deployment() -> DeploymentConf:
    return DEPLOYMENT
