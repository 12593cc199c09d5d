"""How long a pipeline takes to find out that its image is already there."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from bench import history
from bench.measure import Contender, Row, Table, race
from mlops.base.errors import EngineError
from mlops.clients.docker import find_build_command

ANYBODY = "test"  # the key of a local AWS on its own
BASE = os.environ.get("MLOPS_TEST_BASE_IMAGE", "")


def measure(folder: Path) -> Table:
    """`mlops containerize` beside a build in which every layer is cached, and one in a fresh daemon."""
    made = history.make(folder, 200)
    with registry(folder) as host:
        job = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "AWS_ENDPOINT_URL": f"http://{host}",
            "AWS_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": ANYBODY,
            "AWS_SECRET_ACCESS_KEY": ANYBODY,
            "AWS_EC2_METADATA_DISABLED": "true",
            "MLOPS_REGISTRY": host,
            "MLOPS_ENGINE": "process",
            "CI_PIPELINE_SOURCE": "push",
            "CI_COMMIT_BRANCH": "main",
            "CI_DEFAULT_BRANCH": "main",
        }
        mlops = [str(Path(sys.executable).with_name("mlops")), "containerize"]
        subprocess.run(mlops, cwd=made.clone, env=job, check=True, capture_output=True)  # the one that builds
        contenders = [
            Contender(name="mlops containerize", command=mlops, directory=made.clone, environment=job),
            Contender(
                name="import boto3, one client",
                command=[sys.executable, "-c", "import boto3; boto3.client('ecr', 'eu-west-1')"],
                directory=folder,
                environment=job,
            ),
        ]
        rows = race("unchanged", contenders + docker(made.clone, folder))
    if len(rows) == len(contenders):
        rows.append(
            Row(
                case="",
                contender="docker build",
                seconds=0,
                runs=0,
                ratio=0,
                note="no engine with a base image",
            )
        )
    return Table(title="Containerize with nothing to do: two calls to the registry", rows=rows)


def docker(context: Path, folder: Path) -> list[Contender]:
    """Builds with BuildKit; none where there is no engine with a base image (MLOPS_TEST_BASE_IMAGE)."""
    try:
        command = find_build_command(os.environ["PATH"])
    except EngineError:
        return []
    if not BASE:
        return []
    environment = {**os.environ, **command.environment}
    build = [
        *command.words,
        "--network",
        "host",
        "--build-arg",
        f"BASE_IMAGE={BASE}",
        "--tag",
        "ml-ops-bench",
        str(context),
    ]
    subprocess.run(build, env=environment, check=True, capture_output=True)
    found = [Contender(name="docker build, warm", command=build, directory=folder, environment=environment)]
    if shutil.which("dockerd") and os.geteuid() == 0:
        archive = folder / "base.tar"
        subprocess.run(
            [command.words[0], "save", "--output", str(archive), BASE], env=environment, check=True
        )
        fresh = [sys.executable, str(Path(__file__).with_name("fresh_daemon.py")), str(archive), *build]
        found.append(
            Contender(
                name="docker build, fresh daemon",
                command=fresh,
                directory=folder,
                environment=environment,
                runs=3,
            )
        )
    return found


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """A registry behind ECR's API with one repository, on this machine; gives its host."""
    import boto3

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "mlops_local.aws", "--home", str(folder / "aws"), "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--airflow-url", "http://127.0.0.1:9"],
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            try:
                with urlopen(f"http://127.0.0.1:{port}/_mlops/health", timeout=5):
                    break
            except URLError:
                time.sleep(0.05)
        session = boto3.Session(
            aws_access_key_id=ANYBODY, aws_secret_access_key=ANYBODY, region_name="eu-west-1"
        )
        session.client("ecr", endpoint_url=f"http://127.0.0.1:{port}").create_repository(
            repositoryName="web-safety/phishing-url", imageTagMutability="IMMUTABLE"
        )
        yield f"127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
