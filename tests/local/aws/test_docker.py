"""The same jobs in real containers, from an image that the real docker command built and pushed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .harness import REGION, ROLE, LocalAws, free_port, start, stop
from .test_endpoints import SERVER, artifact, ask, settled
from .test_jobs import PROGRAM, ended, log_lines
from .test_jobs import artifact as trained

# A base image with python3; nothing else can be assumed where no image can be pulled.
BASE = os.environ.get("MLOPS_TEST_BASE_IMAGE", "")
BUCKET = "ml-ops-local-jobs"

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(
        not BASE or not shutil.which("docker"), reason="no container engine with a base image"
    ),
]


@dataclass(frozen=True)
class Docker:
    """The docker command with a configuration of its own."""

    folder: Path

    def __call__(self, *arguments: str, text: str = "") -> str:
        environment = {name: os.environ[name] for name in ("PATH", "DOCKER_HOST") if name in os.environ}
        environment |= {"DOCKER_CONFIG": str(self.folder), "DOCKER_BUILDKIT": "0", "HOME": str(self.folder)}
        done = subprocess.run(
            ["docker", *arguments], input=text, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Docker:
    return Docker(tmp_path_factory.mktemp("docker"))


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory, docker: Docker) -> Iterator[LocalAws]:
    running = start(
        tmp_path_factory.mktemp("engine") / "aws", f"http://127.0.0.1:{free_port()}", "--engine", "docker"
    )
    s3 = running.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket=BUCKET, Key="data/train/a.csv", Body=b"1,2")
    s3.put_object(Bucket=BUCKET, Key="model.tar.gz", Body=artifact(version="contained"))
    yield running
    stop(running)
    label = f"label=mlops_local.home={running.home}"
    assert docker("ps", "--all", "--quiet", "--filter", label) == ""


def build(docker: Docker, aws: LocalAws, name: str, script: str) -> str:
    """Build and push an image, as a person would; its URI by digest."""
    ecr = aws.client("ecr")
    uri = ecr.create_repository(repositoryName=name, imageTagMutability="IMMUTABLE")["repository"]
    tag = f"{uri['repositoryUri']}:1.0.0"
    folder = docker.folder / name.replace("/", "-")
    folder.mkdir()
    (folder / "main.py").write_text(script)
    (folder / "Dockerfile").write_text(
        f'FROM {BASE}\nENV FROM_IMAGE=yes PYTHONUNBUFFERED=1\nWORKDIR /opt/program\nCOPY main.py .\nENTRYPOINT ["python3", "main.py"]\n'
    )
    docker("build", "--tag", tag, str(folder))
    grant = ecr.get_authorization_token()["authorizationData"][0]
    user, _, password = base64.b64decode(grant["authorizationToken"]).decode().partition(":")
    docker("login", "--username", user, "--password-stdin", aws.registry, text=password)
    docker("push", tag)
    docker("rmi", tag)
    detail = ecr.describe_images(repositoryName=name, imageIds=[{"imageTag": "1.0.0"}])["imageDetails"][0]
    return f"{uri['repositoryUri']}@{detail['imageDigest']}"


@pytest.fixture(scope="module")
def program(docker: Docker, containers: LocalAws) -> str:
    return build(docker, containers, "contained/program", PROGRAM)


def train(aws: LocalAws, image: str, name: str, do: str = "", seconds: int = 60) -> dict[str, Any]:
    sagemaker = aws.client("sagemaker")
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/data/train/"}}
    sagemaker.create_training_job(
        TrainingJobName=name,
        RoleArn=ROLE,
        AlgorithmSpecification={"TrainingImage": image, "TrainingInputMode": "File"},
        InputDataConfig=[{"ChannelName": "train", "DataSource": source}],
        HyperParameters={"do": do},
        OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/out/"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
        StoppingCondition={"MaxRuntimeInSeconds": seconds},
    )
    return ended(sagemaker, name)


def test_a_training_job_in_a_container(containers: LocalAws, program: str) -> None:
    job = train(containers, program, "contained")
    assert job["TrainingJobStatus"] == "Completed", job
    model = json.loads(trained(containers.client("s3"), job)["model.json"])
    assert model["found"] == ["input/data/train/a.csv"]
    assert (model["cwd"], model["environment"]["FROM_IMAGE"]) == ("/opt/program", "yes")
    assert model["environment"]["AWS_ENDPOINT_URL"] == containers.endpoint
    assert "CANARY" not in model["environment"]
    lines = log_lines(containers, "/aws/sagemaker/TrainingJobs", "contained/algo-1")
    assert lines[0].startswith("verb train")


def test_a_container_s_failure_is_the_reason(containers: LocalAws, program: str) -> None:
    job = train(containers, program, "contained-failure", "fail")
    expected = "AlgorithmError: column label is missing\nin train.csv, exit code: 2"
    assert (job["TrainingJobStatus"], job["FailureReason"]) == ("Failed", expected)


def test_a_container_past_its_time_is_stopped(docker: Docker, containers: LocalAws, program: str) -> None:
    job = train(containers, program, "contained-hang", "hang", 1)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert docker("ps", "--quiet", "--filter", "name=training-contained-hang") == ""


def test_an_endpoint_in_a_container(docker: Docker, containers: LocalAws) -> None:
    sagemaker, image = containers.client("sagemaker"), build(docker, containers, "contained/server", SERVER)
    container = {"Image": image, "ModelDataUrl": f"s3://{BUCKET}/model.tar.gz"}
    sagemaker.create_model(ModelName="contained", ExecutionRoleArn=ROLE, PrimaryContainer=container)
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": "contained",
        "InstanceType": "ml.t2.medium",
        "InitialInstanceCount": 1,
    }
    sagemaker.create_endpoint_config(EndpointConfigName="contained", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="contained", EndpointConfigName="contained")
    assert settled(sagemaker, "contained")["EndpointStatus"] == "InService"
    assert ask(containers.client("sagemaker-runtime"), "contained")["model"] == "contained"


def test_an_image_that_is_not_there(containers: LocalAws, program: str) -> None:
    with pytest.raises(ClientError, match="Cannot find the requested image"):
        train(containers, program.partition("@")[0] + ":9.9.9", "contained-missing")
