"""A real Airflow behind the real Lambda, and CI jobs as processes: everything here can be killed."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from mlops.contracts.runs import DEPLOYMENT_DAG, TRAINING_DAG
from mlops.platform import lambda_package
from tests.contract.airflow_runs.stack import MODEL, PROJECT, REGION, Stack, checkout_dags

FUNCTION = "ml-ops-dag-trigger"
WORKER = "airflow worker -- "

# In front of the real handler: what happens to the function once Airflow has taken the run, by the image's version.
FATE = """
import os, pathlib, signal, time
from handler import handler as real

def handler(event, context):
    answer = real(event, context)
    version = str(event.get("conf", {}).get("image_version", ""))
    once = pathlib.Path(os.environ["FATES"], version)
    if answer.get("created") and not once.exists():
        once.touch()
        if version.startswith("1."):
            time.sleep(5)
        if version.startswith("2."):
            os.kill(os.getpid(), signal.SIGKILL)
    return answer
"""

MANIFEST = """\
project: {project}
models:
  {model}:
    training:
      channels: {{train: data/{model}/train/}}
      hyper_parameters: {parameters}
    evaluation: {{data: data/{model}/test/, metrics: [{{name: f1, min: 0.5}}]}}
    deployment: {{smoke_test: {{body: {{url: "https://example.com"}}}}}}
"""


@dataclass
class Repository:
    """A model repository whose pipeline builds image `version`; its jobs are processes."""

    stack: Stack
    folder: Path
    version: str
    variables: dict[str, str] = field(default_factory=dict)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin a job of the pipeline."""
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("mlops")), *arguments],
            cwd=self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0) -> str:
        """A job to its end; its variables are those of later jobs, as GitLab has it."""
        job = self.start(*arguments)
        output = job.communicate(timeout=170)[0]
        assert job.returncode == code, output
        file = self.folder / f"{arguments[0]}.env"
        if file.exists():
            pairs = (line.split("=", 1) for line in file.read_text().splitlines())
            self.variables |= dict(pairs)
        return output

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return (
            kept
            | {
                "AWS_ENDPOINT_URL": self.stack.aws,
                "AWS_REGION": REGION,
                "AWS_DEFAULT_REGION": REGION,
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_EC2_METADATA_DISABLED": "true",
                "NO_PROXY": "127.0.0.1",
                "CI_PIPELINE_SOURCE": "push",
                "CI_PIPELINE_ID": self.version.partition(".")[0],
                "CI_PROJECT_ID": "7",
                "CI_COMMIT_BRANCH": "main",
                "CI_COMMIT_REF_NAME": "main",
                "CI_DEFAULT_BRANCH": "main",
                "CI_PROJECT_PATH": "models/phishing-url",
                "CI_PIPELINE_URL": f"https://gitlab.example/p/{self.version}",
                "IMAGE_URI": self.stack.image,
                "IMAGE_VERSION": self.version,
            }
            | self.variables
        )

    # What there is in the end.

    def runs(self) -> list[dict[str, Any]]:
        """The runs of Airflow that trained this version, oldest first."""
        listed = self.stack.call("GET", f"/dags/{TRAINING_DAG}/dagRuns?limit=100&order_by=id")[1]["dag_runs"]
        return [run for run in listed if run["conf"].get("image_version") == self.version]

    def wait(self) -> str:
        """The state in which the newest run ended."""
        return self.stack.wait(TRAINING_DAG, self.runs()[-1]["dag_run_id"], 150).state

    def jobs(self) -> list[str]:
        """The states of the version's training jobs."""
        name = f"{PROJECT}--{MODEL}--{self.version.replace('.', '-')}--"
        listed = self.stack.client("sagemaker").list_training_jobs(NameContains=name)
        return [job["TrainingJobStatus"] for job in listed["TrainingJobSummaries"]]

    def models(self) -> list[str]:
        """The version's SageMaker models."""
        name = f"{PROJECT}--{MODEL}--{self.version.replace('.', '-')}--"
        listed = self.stack.client("sagemaker").list_models(NameContains=name)
        return [model["ModelName"] for model in listed["Models"]]

    def told(self) -> list[tuple[str, str]]:
        """What people got of this version: way and subject."""
        return sorted(
            (message["channel"], message["subject"].partition(": ")[2])
            for message in self.stack.inbox()
            if f"{self.version}+retrain.0" in message["subject"]
        )


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("kills")
    dags = home / "dags"
    shutil.copytree(checkout_dags(), dags, ignore=shutil.ignore_patterns("__pycache__"))
    tasks = dags / "run_tasks.py"
    tasks.write_text(tasks.read_text().replace("timedelta(seconds=10)", "timedelta(seconds=1)"))
    with Stack(home, dags).running() as running:
        _put_function(running)
        yield running
    assert running.stopped() == [], "a request to stop leaves no process"


def _put_function(stack: Stack) -> None:
    """The Lambda as Terraform makes it, but with a fate."""
    package = lambda_package.build(stack.home / "dag-trigger.zip")
    buffer = io.BytesIO(package.read_bytes())
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("fate.py", FATE)
    (stack.home / "fates").mkdir()
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "lambda.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    role = stack.client("iam").create_role(RoleName=FUNCTION, AssumeRolePolicyDocument=json.dumps(trust))
    functions = stack.client("lambda")
    functions.create_function(
        FunctionName=FUNCTION,
        Runtime="python3.13",
        Role=role["Role"]["Arn"],
        Handler="fate.handler",
        Timeout=60,
        Code={"ZipFile": buffer.getvalue()},
        Environment={
            "Variables": {
                "AIRFLOW_ENVIRONMENT": "ml-ops-local",
                "ALLOWED_DAGS": f"{TRAINING_DAG},{DEPLOYMENT_DAG}",
                "FATES": str(stack.home / "fates"),
            }
        },
    )
    for dag in (TRAINING_DAG, DEPLOYMENT_DAG):
        functions.create_alias(FunctionName=FUNCTION, Name=dag, FunctionVersion="$LATEST")


@pytest.fixture
def repository(stack: Stack, tmp_path: Path) -> Callable[..., Repository]:
    def made(version: str, **parameters: str) -> Repository:
        text = MANIFEST.format(
            project=PROJECT, model=MODEL, parameters=json.dumps({"f1": "0.9"} | parameters)
        )
        (tmp_path / "mlops.yml").write_text(text)
        return Repository(stack, tmp_path, version)

    return made


@pytest.fixture
def go(tmp_path: Path) -> Iterator[Path]:
    """A file that trainings wait for; it is there in the end, or they would go on for ever."""
    yield tmp_path / "go"
    (tmp_path / "go").touch()


def eventually(look: Callable[[], Any], seconds: float = 90) -> Any:
    """What `look` finds, once it finds something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)
    return found


def scheduler(stack: Stack) -> psutil.Process:
    """The process whose children are the executor's workers."""

    def look() -> list[psutil.Process]:
        components = psutil.Process(stack.airflow_pid).children()
        return [one for one in components if any(title(child).startswith(WORKER) for child in below(one))]

    found: list[psutil.Process] = eventually(look)
    return found[0]


def workers(stack: Stack, words: str) -> list[psutil.Process]:
    """The processes of Airflow whose title is `airflow worker -- ` and these words."""
    return [one for one in below(psutil.Process(stack.airflow_pid)) if title(one) == WORKER + words]


def trainings(stack: Stack) -> list[psutil.Process]:
    """The processes of the local AWS that train a model."""
    return [one for one in below(psutil.Process(stack.aws_pid)) if title(one).endswith(".py train")]


def below(process: psutil.Process) -> list[psutil.Process]:
    """All that it and its children started; none when it ended while we looked."""
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def title(process: psutil.Process) -> str:
    """Its command line; empty when it ended while we looked."""
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""


def kill(processes: list[psutil.Process]) -> None:
    """As the kernel does when memory is short."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
