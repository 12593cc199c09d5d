"""One crowded local AWS for all these tests, with images and evidence of our fifty models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest

from mlops.contracts.evidence import COMPARISON

from . import crowd

BUCKET = "ml-ops-crowd"
SETTINGS = {
    "environment": "local",
    "region": "eu-west-1",
    "bucket": BUCKET,
    "execution_role_arn": "arn:aws:iam::123456789012:role/sagemaker",
    "topic_arn": "arn:aws:sns:eu-west-1:123456789012:ml-ops-notifications",
    "trigger_function": "ml-ops-dag-trigger",
    "airflow_environment": "ml-ops-local",
    "slack_secret": "airflow/connections/slack",
}


@dataclass
class Crowd:
    """An account with ten thousand models; `calls` are those of the clients that stages make."""

    endpoint: str
    calls: list[str] = field(default_factory=list)

    def client(self, service: str) -> Any:
        session = boto3.Session("test", "test", region_name="eu-west-1")
        return session.client(service, endpoint_url=self.endpoint)  # type: ignore[call-overload]

    def asked(self, service: str) -> list[str]:
        return [call.partition(" ")[2] for call in self.calls if call.startswith(f"{service} ")]


def furnish(crowded: Crowd) -> None:
    s3, ecr = crowded.client("s3"), crowded.client("ecr")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    crowded.client("ssm").put_parameter(Name="/ml-ops/settings", Type="String", Value=json.dumps(SETTINGS))
    for number in range(crowd.MODELS):
        repository = f"{crowd.PROJECT}/m{number:02}"
        ecr.create_repository(repositoryName=repository)
        for version in ("1.1.0", "1.2.0"):
            manifest = {"schemaVersion": 2, "config": {}, "layers": [], "annotations": {"v": version}}
            media = "application/vnd.docker.distribution.manifest.v2+json"
            ecr.put_image(
                repositoryName=repository,
                imageManifest=json.dumps(manifest | {"mediaType": media}),
                imageTag=version,
            )
        s3.put_object(Bucket=BUCKET, Key=f"{repository}/1.2.0_retrain.7/{COMPARISON}", Body=b"{}")


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of the account."""
    with crowd.serve(tmp_path_factory.mktemp("crowd")) as endpoint:
        furnish(Crowd(endpoint))
        yield endpoint


@pytest.fixture
def crowded(account: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Crowd]:
    """The account, and every call that commands in this process make of it."""
    from mlops.clients.aws import session as aws

    variables = {"AWS_ENDPOINT_URL": account, "AWS_REGION": "eu-west-1"}
    variables |= {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "CI_PIPELINE_SOURCE": "schedule",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    aws._client.cache_clear()
    aws._session.cache_clear()
    found = Crowd(account)

    for service in ("ssm", "s3", "ecr", "sagemaker", "cloudwatch", "lambda"):
        client = aws.client(service)

        def heard(model: Any, service: str = service, **_: object) -> None:
            found.calls.append(f"{service} {model.name}")

        client.meta.events.register("before-call", heard)
    yield found
    aws._client.cache_clear()
    aws._session.cache_clear()
