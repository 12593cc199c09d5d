"""A local AWS as the stack runs it: a process of its own, known by its port alone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import boto3
from botocore.config import Config

from tests.roles import make_role

from .airflow_double import PASSWORD
from .conformity import check_responses

REGION = "eu-west-1"
ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/service-role/sagemaker-execution"


@dataclass(frozen=True)
class LocalAws:
    """A running local AWS."""

    home: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def registry(self) -> str:
        return f"127.0.0.1:{self.port}"

    def client(self, service: str, **options: Any) -> Any:
        """A boto3 client whose responses are checked against botocore's own model of them."""
        session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)
        options.setdefault("endpoint_url", self.endpoint)
        options.setdefault("config", Config(proxies={}, retries={"max_attempts": 1}))
        client: Any = session.client(service, **options)  # type: ignore[call-overload]
        check_responses(client)
        return client

    def get(self, path: str) -> Any:
        with urlopen(self.endpoint + path, timeout=10) as answer:
            return json.load(answer)

    def post(self, path: str, document: object) -> Any:
        request = Request(self.endpoint + path, json.dumps(document).encode(), method="POST")
        with urlopen(request, timeout=10) as answer:
            return answer.read().decode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(home: Path, airflow_url: str, *more: str) -> LocalAws:
    """Start one and wait until it answers."""
    port = free_port()
    command = [sys.executable, "-m", "mlops_local.aws", "--home", str(home), "--port", str(port)]
    environment = {name: os.environ[name] for name in ("PATH", "DOCKER_HOST") if name in os.environ}
    environment |= {"CANARY": "must-not-leak", "HOME": str(home)}
    passwords = home.parent / "passwords.json"
    passwords.write_text(json.dumps({"admin": PASSWORD}))
    with (home.parent / "aws.log").open("ab") as log:
        process = subprocess.Popen(
            [
                *command,
                *("--airflow-url", airflow_url, "--airflow-passwords", str(passwords)),
                *("--health-check-seconds", "5", *more),
            ],
            env=environment,
            stdout=log,
            stderr=log,
        )
    started = LocalAws(home, port, process)
    for _ in range(600):
        try:
            started.get("/_mlops/health")
            make_role(started.client("iam"), ROLE)
            return started
        except URLError:
            if process.poll() is not None:
                break
            time.sleep(0.05)
    process.kill()
    raise AssertionError((home.parent / "aws.log").read_text())


def stop(running: LocalAws) -> None:
    running.process.send_signal(signal.SIGTERM)
    running.process.wait(30)


def wait_for(look: Callable[[], Any], seconds: float = 30.0) -> Any:
    """The first true thing that `look` sees."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        seen = look()
        if seen:
            return seen
        time.sleep(0.05)
    raise AssertionError(f"nothing after {seconds} s")
