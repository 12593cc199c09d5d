"""The real Terraform and provider, and a local AWS in a process of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import boto3
import pytest
from botocore.config import Config

from mlops.clients.terraform.program import Terraform, find_terraform
from mlops.platform import lambda_package
from mlops_local.base import paths
from mlops_local.stack import terraform
from tests.conftest import group

from . import provider
from .planned import Planned, plan_all

CHECKOUT = Path(__file__).parents[3]
REGION = "eu-west-1"


@dataclass(frozen=True)
class LocalAws:
    """Where it answers, and the folder in which it writes down every call."""

    endpoint: str
    home: Path

    def client(self, service: str) -> Any:
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 2}),
        )

    def post(self, page: str, document: object, seconds: float = 10) -> None:
        """Tell the local AWS something that AWS does by itself, and wait so long for its answer."""
        urlopen(
            Request(self.endpoint + page, json.dumps(document).encode(), method="POST"), timeout=seconds
        ).close()

    def logged(self, group: str, key: str, count: int) -> list[dict[str, Any]]:
        """The JSON lines of a log group that have a key, once there are so many."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            events = self.client("logs").filter_log_events(logGroupName=group, filterPattern=f'"{key}"')[
                "events"
            ]
            if len(events) >= count:
                return [json.loads(event["message"]) for event in events]
            time.sleep(0.2)
        raise AssertionError(f"{group} has fewer than {count} lines with {key}")


@dataclass(frozen=True)
class Applied:
    """The root, applied with the values of the local stack."""

    aws: LocalAws
    home: Path
    package: Path
    outputs: dict[str, Any]

    def terraform(self) -> Terraform:
        return terraform.workspace(self.home, self.aws.endpoint)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """One account for several files: to start one costs more than most of them."""
    with serving(tmp_path_factory.mktemp("shared") / "aws") as running:
        yield running


@pytest.fixture(scope="module")
def aws(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """A fresh account, or that of the files that look only at what they made themselves."""
    if group(request.node.nodeid) == "one local AWS":
        yield request.getfixturevalue("shared")
        return
    with serving(tmp_path_factory.mktemp("stack") / "aws") as running:
        yield running


@contextmanager
def serving(home: Path, *options: str) -> Iterator[LocalAws]:
    """An account of its own: moto keeps one a process, so this is a process."""
    home.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlops_local.aws", "--home", str(home), "--port", str(port), *options]
    with (home / "server.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            _wait(f"http://127.0.0.1:{port}/_mlops/health", server)
            yield LocalAws(f"http://127.0.0.1:{port}", home)
        finally:
            server.terminate()


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urlopen(url, timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.1)
    raise AssertionError("the local AWS did not start")


@pytest.fixture(scope="module")
def applied(aws: LocalAws, installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Applied]:
    home = tmp_path_factory.mktemp("stack")
    folder = home / "terraform"
    package = lambda_package.build(home / "dag-trigger.zip")
    models = {"fraud": ["card-payments"]}
    with attached(folder, aws, installed):
        outputs = terraform.apply(folder, aws.endpoint, package, models)
        yield Applied(aws, folder, package, outputs)


@contextmanager
def attached(home: Path, aws: LocalAws, binary: Path) -> Iterator[None]:
    """Attach what `terraform.workspace` makes to one provider that runs."""
    environment = terraform.workspace(home, aws.endpoint)._environment
    inherited = terraform._inherited()
    with (
        provider.running(binary, home / "provider.log", environment) as attachment,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(terraform, "_inherited", lambda: inherited | attachment)
        yield


@pytest.fixture(scope="session")
def program() -> Path:
    return find_terraform(paths.checkout() / ".mlops" / "bin")


@pytest.fixture(scope="session")
def installed(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The provider, for those who keep one running."""
    return provider.install(program, tmp_path_factory.mktemp("provider") / "root")


@pytest.fixture(scope="session")
def planned(program: Path, installed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Planned]:
    """The policies of each environment's plan, and of `planted`."""
    return plan_all(program, installed, tmp_path_factory.mktemp("planned"))
