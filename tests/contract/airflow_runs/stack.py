"""A real Airflow beside a local AWS, and a small model to run through both DAGs."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3
from botocore.config import Config

from mlops_local.airflow import environment as airflow
from mlops_local.base import paths, processes
from tests.ending import STARTER
from tests.roles import make_role

REGION = "eu-west-1"
ACCOUNT = "123456789012"
BUCKET = f"ml-ops-local-{ACCOUNT}"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/sagemaker-execution"
_MAKES_A_DAG = re.compile(r"^with (DAG|model_dag)\(", re.MULTILINE)
PROJECT, MODEL = "web-safety", "phishing-url"
ENDPOINT = f"{PROJECT}--{MODEL}"

# A model with SageMaker's container contract that needs nothing but Python. Hyper-parameters say how it fares.
PROGRAM = r"""
import http.server, json, os, pathlib, sys, tarfile, time
verb, base = sys.argv[1], pathlib.Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
if verb == "train":
    parameters = json.loads((base / "input/config/hyperparameters.json").read_text())
    print("rows", sum(1 for _ in (base / "input/data/train/train.csv").open()), flush=True)
    if parameters.get("do") == "crash":
        print("ValueError: column 'age' is missing", flush=True)
        (base / "output").mkdir(exist_ok=True)
        (base / "output/failure").write_text("ValueError: column 'age' is missing")
        sys.exit(1)
    if parameters.get("do") == "hang":
        time.sleep(300)
    if parameters.get("do") == "slow":
        time.sleep(4)
    while parameters.get("until") and not pathlib.Path(parameters["until"]).exists():
        time.sleep(0.1)
    if parameters.get("do") != "nothing":
        (base / "model/model.json").write_text(json.dumps(parameters))
elif verb == "evaluate":
    with tarfile.open(base / "processing/model/model.tar.gz") as archive:
        parameters = json.load(archive.extractfile(next(m for m in archive if m.name.endswith("model.json"))))
    out = base / "processing/evaluation"
    out.mkdir(parents=True, exist_ok=True)
    text = parameters.get("report") or json.dumps(
        {"schema_version": 1, "metrics": {"f1": float(parameters["f1"])}, "counts": {"rows": 1}})
    if parameters.get("report") != "nothing":
        (out / "evaluation.json").write_text(text)
else:
    parameters = json.loads((base / "model/model.json").read_text())
    if parameters.get("serve") == "crash":
        print("RuntimeError: no weights", flush=True)
        sys.exit(1)
    version = parameters.get("says") or os.environ["MLOPS_MODEL_VERSION"]
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer({})
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"]))).get("instances", [{}])
            predictions = [int(one.get(parameters.get("by"), 1)) for one in asked]
            self.answer({"predictions": predictions, "model": {
                "name": os.environ["MLOPS_MODEL"], "version": version,
                "training_data": os.environ["MLOPS_TRAINING_DATA"]}})
        def answer(self, document):
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
    port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(url: str) -> Any:
    with urlopen(url, timeout=10) as answer:
        return json.load(answer)


@dataclass(frozen=True)
class Run:
    """A DAG run that ended."""

    run_id: str
    state: str
    tasks: dict[str, str]
    seconds: float


@dataclass
class Stack:
    """Both servers. `dags` may be another folder than the checkout's."""

    home: Path
    dags: Path
    aws_port: int = 0
    airflow_port: int = 0
    image: str = ""
    _token: str = ""

    @property
    def aws(self) -> str:
        return f"http://127.0.0.1:{self.aws_port}"

    @property
    def airflow(self) -> str:
        return f"http://127.0.0.1:{self.airflow_port}"

    @property
    def airflow_pid(self) -> int:
        return self._airflow.pid

    @property
    def aws_pid(self) -> int:
        return self._aws.pid

    def wait_for_airflows_end(self) -> str:
        """Until it ended by itself; returns its log."""
        self._airflow.wait(20)
        return (self.home / "airflow.log").read_text()

    @contextmanager
    def running(self) -> Iterator[Stack]:
        """Both servers to the end of the block, however it ends."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.aws_port, self.airflow_port = free_port(), free_port()
        # What a machine needs to reach its package index, for images with requirements.
        environment = {
            name: value
            for name, value in os.environ.items()
            if name in {"PATH", "HOME", STARTER}
            or name.startswith(("PIP_", "UV_", "SSL_CERT", "HTTPS_PROXY"))
        }
        aws = [sys.executable, "-m", "mlops_local.aws", "--home", str(self.home / "aws")]
        aws += ["--port", str(self.aws_port), "--airflow-url", self.airflow]
        passwords = airflow.make_password(self.home / "airflow")
        aws += ["--airflow-passwords", str(passwords)]
        with ExitStack() as servers:
            self._aws = self._spawn("aws", aws, environment)
            servers.callback(self._stop_aws)
            self._airflow = self._spawn(
                "airflow",
                airflow.command(),
                # the test that pays for it; nothing of Airflow reads it
                airflow.environment(self.home / "airflow", self.airflow_port, self.aws, self.dags)
                | {STARTER: os.environ[STARTER]},
            )
            servers.callback(self._stop_airflow)
            self._wait_for_aws()
            self._furnish()
            # each file that makes a DAG bears its name
            dags = [file.stem for file in self.dags.glob("*.py") if _MAKES_A_DAG.search(file.read_text())]
            airflow.wait_ready(self.airflow, passwords, 120, lambda: self._airflow.poll() is None, dags)
            yield self

    def _stop_aws(self) -> None:
        self._aws.send_signal(signal.SIGTERM)
        self._aws.wait(30)

    def _stop_airflow(self) -> None:
        """Ask the first of Airflow's processes to stop, and no other, as a person would."""
        self._airflow.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._airflow.wait(20)
        self._left = self.remains()
        processes.stop_group(self._airflow.pid)

    def stopped(self) -> list[str]:
        """Who of Airflow was still there after it had been asked to stop."""
        return self._left

    def remains(self, seconds: float = 20) -> list[str]:
        """Processes of Airflow that are still there, once those that were sent a SIGKILL had the time to go."""
        deadline = time.monotonic() + seconds
        while (members := processes.group_members(self._airflow.pid)) and time.monotonic() < deadline:
            time.sleep(0.1)
        return [" ".join(one.cmdline()) for one in members]

    def client(self, service: str) -> Any:
        session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)
        return session.client(  # type: ignore[call-overload]
            service, endpoint_url=self.aws, config=Config(proxies={}, retries={"max_attempts": 1})
        )

    def document(self, key: str) -> Any:
        """A JSON object of the bucket; None when there is none."""
        s3 = self.client("s3")
        try:
            return json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
        except s3.exceptions.NoSuchKey:
            return None

    def inbox(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = get(f"{self.aws}/_mlops/inbox")
        return messages

    def faults(self, document: object) -> None:
        request = Request(f"{self.aws}/_mlops/slack/faults", json.dumps(document).encode(), method="POST")
        urlopen(request, timeout=10).close()

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Call Airflow's REST API, with one token for all calls: to log in costs as much as most of them."""
        self._token = self._token or airflow.log_in(self.airflow, self.home / "airflow" / airflow.PASSWORDS)
        request = Request(
            f"{self.airflow}/api/v2{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
            method=method,
        )
        try:
            with urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def trigger(self, dag: str, run_id: str, conf: Mapping[str, Any]) -> None:
        status, answer = self.call(
            "POST", f"/dags/{dag}/dagRuns", {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        )
        assert status == 200, answer

    def wait(self, dag: str, run_id: str, seconds: float = 120) -> Run:
        began = time.monotonic()
        state = ""
        while time.monotonic() - began < seconds:
            state = self.call("GET", f"/dags/{dag}/dagRuns/{run_id}")[1]["state"]
            if state in {"success", "failed"}:
                break
            time.sleep(0.3)
        listing = self.call("GET", f"/dags/{dag}/dagRuns/{run_id}/taskInstances")[1]["task_instances"]
        tasks = {task["task_id"]: task["state"] for task in listing}
        assert state in {"success", "failed"}, tasks
        return Run(run_id, state, tasks, time.monotonic() - began)

    def run(self, dag: str, run_id: str, conf: Mapping[str, Any]) -> Run:
        self.trigger(dag, run_id, conf)
        return self.wait(dag, run_id)

    def log(self, dag: str, run_id: str, task: str, attempt: int = 1) -> str:
        answer = self.call("GET", f"/dags/{dag}/dagRuns/{run_id}/taskInstances/{task}/logs/{attempt}")[1]
        return json.dumps(answer)

    def _spawn(self, name: str, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        with (self.home / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait_for_aws(self) -> None:
        for _ in range(600):
            try:
                get(f"{self.aws}/_mlops/health")
                return
            except OSError:
                assert self._aws.poll() is None, (self.home / "aws.log").read_text()
                time.sleep(0.05)

    def _furnish(self) -> None:
        make_role(self.client("iam"), ROLE)
        s3 = self.client("s3")
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        for channel in ("train", "test"):
            s3.put_object(Bucket=BUCKET, Key=f"data/{MODEL}/{channel}/{channel}.csv", Body=b"1,0\n0,1\n")
        sns = self.client("sns")
        topic = sns.create_topic(Name="ml-ops-notifications")["TopicArn"]
        sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="team@example.com")
        urlopen(Request(f"{self.aws}/_mlops/subscriptions/confirm", method="POST"), timeout=10).close()
        settings = {
            "environment": "local",
            "region": REGION,
            "bucket": BUCKET,
            "execution_role_arn": ROLE,
            "topic_arn": topic,
            "trigger_function": "ml-ops-dag-trigger",
            "airflow_environment": "ml-ops-local",
            "slack_secret": "airflow/connections/slack",
            "log_group_url": "https://logs.example/{group}/{stream}",
        }
        self.client("ssm").put_parameter(Name="/ml-ops/settings", Type="String", Value=json.dumps(settings))
        self.client("secretsmanager").create_secret(
            Name="airflow/connections/slack",
            SecretString=json.dumps(
                {
                    "conn_type": "slackwebhook",
                    "host": f"{self.aws}/slack",
                    "password": "services/T000/B000/local",
                }
            ),
        )
        self.client("sagemaker").create_model_package_group(ModelPackageGroupName=ENDPOINT)
        self.image = self.push(f"{PROJECT}/{MODEL}")

    def push(
        self,
        repository: str,
        files: Mapping[str, bytes] | None = None,
        entrypoint: Sequence[str] = ("python", "main.py"),
    ) -> str:
        """Push an image, of PROGRAM or other files, as any client of a registry does; return its URI by digest."""
        ecr = self.client("ecr")
        ecr.create_repository(repositoryName=repository)
        token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]

        def call(method: str, url: str, body: bytes = b"", content_type: str = "") -> str:
            headers = {"Authorization": f"Basic {token}", "Content-Type": content_type}
            with urlopen(Request(url, body, headers, method=method), timeout=30) as answer:
                return str(answer.headers.get("Location", ""))

        def blob(media_type: str, content: bytes) -> dict[str, Any]:
            digest = "sha256:" + hashlib.sha256(content).hexdigest()
            location = call("POST", f"{self.aws}/v2/{repository}/blobs/uploads/")
            location = location if location.startswith("http") else self.aws + location
            call("PUT", f"{location}?digest={digest}", content, "application/octet-stream")
            return {"mediaType": media_type, "digest": digest, "size": len(content)}

        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, content in (files or {"main.py": PROGRAM.encode()}).items():
                member = tarfile.TarInfo(f"opt/program/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": list(entrypoint), "WorkingDir": "/opt/program"},
            "rootfs": {"type": "layers", "diff_ids": []},
        }
        media = "application/vnd.docker."
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": f"{media}distribution.manifest.v2+json",
                "config": blob(f"{media}container.image.v1+json", json.dumps(config).encode()),
                "layers": [blob(f"{media}image.rootfs.diff.tar.gzip", gzip.compress(buffer.getvalue()))],
            }
        ).encode()
        call(
            "PUT", f"{self.aws}/v2/{repository}/manifests/1.0.0", manifest, json.loads(manifest)["mediaType"]
        )
        return f"127.0.0.1:{self.aws_port}/{repository}@sha256:{hashlib.sha256(manifest).hexdigest()}"

    def training_conf(self, version: str, **parameters: str) -> dict[str, Any]:
        tag = version.replace("+", "_")
        return {
            "schema_version": 1,
            "project": PROJECT,
            "model": MODEL,
            "model_version": version,
            "image_version": version.partition("+")[0],
            "image_uri": self.image,
            "evidence_uri": f"s3://{BUCKET}/{PROJECT}/{MODEL}/{tag}/",
            "training": {
                "channels": {"train": f"s3://{BUCKET}/data/{MODEL}/train/"},
                "instance_type": "ml.m5.large",
                "instance_count": 1,
                "volume_gb": 5,
                "max_runtime_seconds": 60,
                "spot": False,
                "max_wait_seconds": 0,
                "hyper_parameters": parameters,
            },
            "evaluation": {
                "data": f"s3://{BUCKET}/data/{MODEL}/test/",
                "instance_type": "ml.m5.large",
                "volume_gb": 5,
                "max_runtime_seconds": 60,
                "metrics": [{"name": "f1", "goal": "maximize", "min": 0.5, "max_regression": 0.02}],
            },
            "deployment": self.deployment(),
            "origin": {"pipeline_url": "https://gitlab.example/p/7", "commit_title": "feat: more"},
        }

    def deployment(self) -> dict[str, Any]:
        return {
            "endpoint_name": ENDPOINT,
            "instance_type": "ml.m5.large",
            "instance_count": 1,
            "startup_timeout_seconds": 60,
            "smoke_test": {"content_type": "application/json", "body": "{}"},
        }

    def deployment_conf(self, version: str, **more: Any) -> dict[str, Any]:
        tag = version.replace("+", "_")
        return {
            "schema_version": 1,
            "project": PROJECT,
            "model": MODEL,
            "model_version": version,
            "evidence_uri": f"s3://{BUCKET}/{PROJECT}/{MODEL}/{tag}/",
            "deployment": self.deployment(),
            "origin": {"pipeline_url": "https://gitlab.example/p/7"},
            **more,
        }


def checkout_dags() -> Path:
    return paths.checkout() / "dags"
