"""A registry behind ECR's API, and a model repository that pushes to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import urlopen

import boto3
import pytest
from botocore.config import Config

from mlops.clients.aws.oci_registry import Registry

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient

REGION = "eu-west-1"
MANIFEST = """\
project: web-safety
models:
  {model}:
    training: {{channels: {{train: data/train/}}}}
    evaluation: {{data: data/test/, metrics: [{{name: f1}}]}}
    deployment: {{smoke_test: {{body: "1"}}}}
"""
DOCKERFILE = """\
ARG BASE_IMAGE=python:3.11@sha256:0000000000000000000000000000000000000000000000000000000000000000
FROM ${BASE_IMAGE}
ENV GREETING="hello you"
WORKDIR /opt/program
COPY phish phish
ENTRYPOINT ["python3", "-m", "phish"]
"""


@dataclass(frozen=True)
class LocalRegistry:
    """An account's registry on a port of this machine; `calls` counts what ECR was asked by `client`."""

    port: int
    calls: Counter[str] = field(default_factory=Counter)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def client(self) -> ECRClient:
        session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)
        ecr = session.client(
            "ecr", endpoint_url=f"http://{self.host}", config=Config(proxies={}, retries={"max_attempts": 1})
        )
        ecr.meta.events.register("before-call", self._count)
        return ecr

    def repository(self, model: str, owner: str = "", **mutability: Any) -> Registry:
        """A new repository, as Terraform makes it; with an owner, that GitLab project's."""
        ecr = self.client()
        name = f"web-safety/{model}"
        tags = [{"Key": "mlops:gitlab-project", "Value": owner}] if owner else []
        settings: dict[str, Any] = {"imageTagMutability": "IMMUTABLE", "tags": tags} | mutability
        ecr.create_repository(repositoryName=name, **settings)
        self.calls.clear()
        return Registry(ecr, name)

    def _count(self, model: Any, **_: object) -> None:
        self.calls[model.name] += 1


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRegistry]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    home = tmp_path_factory.mktemp("stack") / "aws"
    command = [sys.executable, "-m", "mlops_local.aws", "--home", str(home), "--port", str(port)]
    with (home.parent / "aws.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "--airflow-url", "http://127.0.0.1:9"],
            env={"PATH": os.environ["PATH"], "HOME": str(home.parent)},
            stdout=log,
            stderr=log,
        )
    try:
        for _ in range(600):
            try:
                with urlopen(f"http://127.0.0.1:{port}/_mlops/health", timeout=5):
                    break
            except URLError:
                assert process.poll() is None, (home.parent / "aws.log").read_text()
                time.sleep(0.05)
        yield LocalRegistry(port)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


class ModelRepository:
    """A model's git repository, with one commit."""

    def __init__(self, root: Path, model: str) -> None:
        self.root = root
        self.model = model
        self._commits = 0
        root.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")
        (root / "mlops.yml").write_text(MANIFEST.format(model=model))
        (root / "Dockerfile").write_text(DOCKERFILE)
        (root / ".dockerignore").write_text("*\n!phish\n")
        self.commit("feat: a model")

    def git(self, *arguments: str) -> str:
        who = {
            f"GIT_{one}_{what}": "ann@example.org"
            for one in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        return subprocess.run(
            ["git", "-C", str(self.root), *arguments],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, **who, "GIT_CONFIG_GLOBAL": os.devnull},
        ).stdout.strip()

    def commit(self, message: str, path: str = "phish/__main__.py", content: str = "") -> str:
        self._commits += 1
        file = self.root / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(content or f"print({self._commits})\n")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")
