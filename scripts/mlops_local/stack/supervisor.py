"""The process behind `mlops local up`: serves AWS and GitLab, and keeps Airflow.

It leads a session of its own, so everything it starts can be stopped together; Airflow and served
endpoints outlive a signal to their parent alone.
"""

from __future__ import annotations

import argparse
import base64
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from mlops_local.airflow.environment import PASSWORDS
from mlops_local.base import paths, processes
from mlops_local.base.environment import LocalEnvironment, find_environment
from mlops_local.stack.stack import SNAPSHOT, Stack

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from werkzeug.serving import BaseWSGIServer

_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class _Listener:
    """A bound socket: its port is ours from now on, while the application is still being made."""

    socket: socket.socket

    @classmethod
    def bind(cls) -> _Listener:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((_LOOPBACK, 0))
        listener.listen(128)
        return cls(listener)

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def serve(self, app: WSGIApplication) -> BaseWSGIServer:
        from werkzeug.serving import WSGIRequestHandler, make_server

        class SupervisorHandler(WSGIRequestHandler):
            """Keeps connections open, and leaves request lines out of the log."""

            protocol_version = "HTTP/1.1"

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                """Say nothing: thousands of polls would bury what matters."""

        server = make_server(
            _LOOPBACK,
            self.port,
            app,
            threaded=True,
            request_handler=SupervisorHandler,
            fd=self.socket.fileno(),
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server


def _key_id(prefix: str) -> str:
    """An access key's ID, in the form of AWS's own: four letters, which name the kind, and sixteen."""
    return prefix + base64.b32encode(secrets.token_bytes(10)).decode()


@dataclass(frozen=True)
class _Keys:
    """The keys that this stack's own programs call AWS with, and no other program knows."""

    account: str = field(default_factory=lambda: _key_id("AKIA"))
    airflow: str = field(default_factory=lambda: _key_id("ASIA"))


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="mlops_local.stack.supervisor")
    parser.add_argument("--name", required=True)
    parser.add_argument("--engine", choices=("docker", "process"), required=True)
    parser.add_argument("--environment", required=True)
    arguments = parser.parse_args()
    environment = find_environment(arguments.environment)
    home = paths.home(arguments.name)

    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())

    aws, gitlab, airflow = _Listener.bind(), _Listener.bind(), _free_port()
    keys = _Keys()
    airflow_process = _start_airflow(home, airflow, f"http://{_LOOPBACK}:{aws.port}", environment, keys)
    try:
        return _serve(arguments, home, environment, aws, gitlab, airflow, airflow_process, stopping, keys)
    finally:
        processes.stop_group(airflow_process.pid)
        airflow_process.wait()


def _serve(  # pylint: disable=too-many-arguments,too-many-positional-arguments
    arguments: argparse.Namespace,
    home: Path,
    environment: LocalEnvironment,
    aws: _Listener,
    gitlab: _Listener,
    airflow: int,
    airflow_process: subprocess.Popen[bytes],
    stopping: threading.Event,
    keys: _Keys,
) -> int:
    from mlops_local.aws.app import LocalAwsConfig, create_app
    from mlops_local.gitlab.app import create_app as create_gitlab

    aws_app = create_app(
        LocalAwsConfig(
            home=home / "aws",
            port=aws.port,
            region=environment.region,
            account=environment.account,
            engine=arguments.engine,
            airflow_url=f"http://{_LOOPBACK}:{airflow}",
            airflow_passwords=home / "airflow" / PASSWORDS,
            # Terraform makes the MWAA environment of a whole one
            airflow_environment=None if environment.whole else environment.airflow_environment,
            lambda_python=paths.airflow_python(),
            cache=paths.cache(),
            dags_folder=_dags_folder(home) if environment.whole else None,
            access_key=keys.account,
            airflow_key=keys.airflow,
            enforce=True,
            gitlab=f"{_LOOPBACK}:{gitlab.port}",
            snapshot=home / SNAPSHOT,
        )
    )
    try:
        servers = [aws.serve(aws_app), gitlab.serve(create_gitlab(home / "gitlab", gitlab.port))]
        Stack(
            name=arguments.name,
            home=str(home),
            runs=str(paths.runs(arguments.name)),
            engine=arguments.engine,
            pid=os.getpid(),
            started=psutil.Process().create_time(),
            aws_port=aws.port,
            gitlab_port=gitlab.port,
            airflow_port=airflow,
            environment_name=environment.name,
            region=environment.region,
            access_key=keys.account,
            snapshot=aws_app.snapshot.key if aws_app.snapshot else "",
        ).save()
        while not stopping.wait(0.5):
            if airflow_process.poll() is not None:
                print(f"Airflow ended with {airflow_process.returncode}", file=sys.stderr)  # noqa: T201
                return 1
        for server in servers:
            server.shutdown()
        return 0
    finally:
        aws_app.close()


def _dags_folder(home: Path) -> Path:
    """Where MWAA puts the DAGs that Terraform put into its bucket."""
    return home / "airflow" / "dags"


def _start_airflow(
    home: Path, port: int, aws_endpoint: str, played: LocalEnvironment, keys: _Keys
) -> subprocess.Popen[bytes]:
    from mlops_local.airflow import environment as airflow

    folder = home / "airflow"
    dags = _dags_folder(home) if played.whole else paths.checkout() / "dags"
    for one in (folder, dags):
        one.mkdir(parents=True, exist_ok=True)
    airflow.make_password(folder)
    environment = airflow.environment(
        folder,
        port,
        aws_endpoint,
        dags,
        played.region,
        look_seconds=10 if played.whole else 3600,
        access_key=keys.airflow,
    )
    with (home / "logs" / "airflow.log").open("ab") as log:
        return subprocess.Popen(
            airflow.command(),
            env=environment,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
