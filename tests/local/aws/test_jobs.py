"""Training and processing jobs: really run, with the states and words of the service."""

from __future__ import annotations

import io
import json
import tarfile
import time
import uuid
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from .harness import REGION, ROLE, LocalAws, wait_for
from .images import Pusher, layer

BUCKET = "ml-ops-local-jobs"

# One program for all verbs: what it does is asked for by a hyper-parameter or a variable.
PROGRAM = """
import json, os, pathlib, subprocess, sys, time
verb = sys.argv[1] if len(sys.argv) > 1 else ""
base = pathlib.Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
parameters = {}
if verb == "train":
    parameters = json.loads((base / "input/config/hyperparameters.json").read_text())
do = parameters.get("do") or os.environ.get("DO", "")
print("verb", verb, "does", do)
print("recall=0.5;")
print("recall=0.93;")
if do == "fail":
    (base / "output").mkdir(exist_ok=True)
    (base / "output/failure").write_text("column label is missing\\nin train.csv")
    (base / "output/message").write_text("rows read: 0")
    sys.exit(2)
if do == "hang":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    (base / "model" if verb == "train" else base / "output").joinpath("pid").write_text(f"{os.getpid()} {child.pid}")
    time.sleep(300)
if verb == "train":
    found = sorted(str(f.relative_to(base)) for f in (base / "input/data").rglob("*") if f.is_file())
    (base / "model/model.json").write_text(json.dumps({
        "found": found, "parameters": parameters, "environment": dict(os.environ), "cwd": os.getcwd()}))
if verb == "evaluate":
    test = (base / "processing/test/test.csv").read_text()
    out = base / "processing/evaluation"
    (out / "curves").mkdir()
    (out / "evaluation.json").write_text(json.dumps({"test": test}))
    (out / "curves/roc.csv").write_text("0,1")
    (out / "leak").symlink_to("/etc/hostname")
"""


@pytest.fixture(scope="module")
def s3(aws: LocalAws) -> Any:
    client = aws.client("s3")
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    client.put_object(Bucket=BUCKET, Key="data/train/", Body=b"")
    client.put_object(Bucket=BUCKET, Key="data/train/a.csv", Body=b"1,2")
    client.put_object(Bucket=BUCKET, Key="data/train/deep/b.csv", Body=b"3,4")
    client.put_object(Bucket=BUCKET, Key="data/test/test.csv", Body=b"5,6")
    return client


@pytest.fixture(scope="module")
def image(aws: LocalAws) -> str:
    aws.client("ecr").create_repository(repositoryName="jobs/program")
    return Pusher.login(aws).program("jobs/program", "1.0.0", PROGRAM)


@pytest.fixture(scope="module")
def sagemaker(aws: LocalAws) -> Any:
    return aws.client("sagemaker")


@pytest.fixture
def train(sagemaker: Any, s3: Any, image: str) -> Callable[..., str]:
    assert s3
    name = f"train-{uuid.uuid4()}"

    def create(do: str = "", seconds: int = 60, **more: Any) -> str:
        channel = {
            "ChannelName": "train",
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/data/train/"}},
        }
        arguments = {
            "TrainingJobName": name,
            "RoleArn": ROLE,
            "AlgorithmSpecification": {
                "TrainingImage": image,
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": "recall", "Regex": r"recall=([0-9.]+);"}],
            },
            "InputDataConfig": [channel],
            "HyperParameters": {"do": do, "depth": "3"},
            "Environment": {"MLOPS_MODEL": "phishing-url"},
            "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/out/"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
            "StoppingCondition": {"MaxRuntimeInSeconds": seconds},
            **more,
        }
        arn = sagemaker.create_training_job(**arguments)["TrainingJobArn"]
        assert arn.endswith(f":training-job/{name}")
        return name

    return create


def ended(sagemaker: Any, name: str) -> dict[str, Any]:
    def look() -> Any:
        job = sagemaker.describe_training_job(TrainingJobName=name)
        return job if job["TrainingJobStatus"] in ("Completed", "Failed", "Stopped") else None

    job: dict[str, Any] = wait_for(look, 60)
    return job


def artifact(s3: Any, job: dict[str, Any]) -> dict[str, Any]:
    key = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix(f"s3://{BUCKET}/")
    body = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        contents = {}
        for member in archive:
            file = archive.extractfile(member)
            contents[member.name] = file.read().decode() if file else ""
    return contents


def log_lines(aws: LocalAws, group: str, prefix: str) -> list[str]:
    logs = aws.client("logs")
    streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=prefix)["logStreams"]
    assert len(streams) == 1
    events = logs.get_log_events(
        logGroupName=group, logStreamName=streams[0]["logStreamName"], startFromHead=True
    )
    return [event["message"] for event in events["events"]]


def test_a_training_job_runs_the_image_on_its_channels(
    aws: LocalAws, sagemaker: Any, s3: Any, train: Callable[..., str]
) -> None:
    name = train()
    job = ended(sagemaker, name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Completed", "Completed")
    assert [one["Status"] for one in job["SecondaryStatusTransitions"]] == [
        "Starting",
        "Downloading",
        "Training",
        "Uploading",
        "Completed",
    ]
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{BUCKET}/out/{name}/output/model.tar.gz"
    assert [(one["MetricName"], round(one["Value"], 2)) for one in job["FinalMetricDataList"]] == [
        ("recall", 0.93)
    ]
    contents = artifact(s3, job)
    assert list(contents) == ["model.json"]
    model = json.loads(contents["model.json"])
    assert model["found"] == ["input/data/train/a.csv", "input/data/train/deep/b.csv"]
    assert model["parameters"] == {"do": "", "depth": "3"}
    environment = model["environment"]
    assert environment["MLOPS_MODEL"] == "phishing-url"
    assert environment["FROM_IMAGE"] == "yes"
    assert environment["AWS_ENDPOINT_URL"] == aws.endpoint
    assert environment["TRAINING_JOB_NAME"] == name
    assert "CANARY" not in environment
    assert model["cwd"].endswith("/opt/program")
    lines = log_lines(aws, "/aws/sagemaker/TrainingJobs", f"{name}/algo-1")
    assert lines[0].startswith("verb train does")


def test_a_failure_s_own_text_is_the_reason(sagemaker: Any, train: Callable[..., str]) -> None:
    job = ended(sagemaker, train("fail"))
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Failed", "Failed")
    expected = "AlgorithmError: column label is missing\nin train.csv, exit code: 2"
    assert job["FailureReason"] == expected


def test_a_name_is_used_once(sagemaker: Any, train: Callable[..., str]) -> None:
    running = sagemaker.describe_training_job(TrainingJobName=train("hang"))
    assert running["TrainingJobStatus"] == "InProgress"
    with pytest.raises(sagemaker.exceptions.ResourceInUse, match="already exists"):
        train()
    names = [
        one["TrainingJobName"]
        for one in sagemaker.list_training_jobs(StatusEquals="InProgress")["TrainingJobSummaries"]
    ]
    for name in names:
        sagemaker.stop_training_job(TrainingJobName=name)
        ended(sagemaker, name)


def test_a_job_past_its_time_is_stopped_with_all_it_started(
    sagemaker: Any, s3: Any, train: Callable[..., str]
) -> None:
    job = ended(sagemaker, train("hang", seconds=1))
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    pids = artifact(s3, job)["pid"].split()
    assert len(pids) == 2
    wait_for(lambda: not any(psutil.pid_exists(int(pid)) for pid in pids), 5)


def test_a_stopped_job_says_stopping_then_stopped(sagemaker: Any, train: Callable[..., str]) -> None:
    name = train("hang")
    wait_for(lambda: sagemaker.describe_training_job(TrainingJobName=name)["SecondaryStatus"] == "Training")
    sagemaker.stop_training_job(TrainingJobName=name)
    job = sagemaker.describe_training_job(TrainingJobName=name)
    assert job["TrainingJobStatus"] in ("Stopping", "Stopped")
    job = ended(sagemaker, name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    with pytest.raises(ClientError, match="was rejected because the training job is in status Stopped"):
        sagemaker.stop_training_job(TrainingJobName=name)


@pytest.mark.parametrize("uri", [f"s3://{BUCKET}/data/nothing/", "s3://no-such-bucket-here/data/"])
def test_input_that_is_not_there_fails_the_job(sagemaker: Any, train: Callable[..., str], uri: str) -> None:
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}
    job = ended(sagemaker, train(InputDataConfig=[{"ChannelName": "train", "DataSource": source}]))
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith(f'ClientError: No S3 objects found under S3 URL "{uri}"')


@pytest.mark.parametrize("reference", ["jobs/program:9.9.9", "jobs/none@sha256:" + "0" * 64])
def test_an_image_that_is_not_there_is_refused_at_once(
    aws: LocalAws, train: Callable[..., str], reference: str
) -> None:
    uri = f"{aws.registry}/{reference}"
    with pytest.raises(ClientError, match=f"Cannot find the requested image: {uri}") as caught:
        train(AlgorithmSpecification={"TrainingImage": uri, "TrainingInputMode": "File"})
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_requirements_that_cannot_be_installed_fail_the_job_with_the_installer_s_words(
    aws: LocalAws, sagemaker: Any, train: Callable[..., str]
) -> None:
    aws.client("ecr").create_repository(repositoryName="jobs/requirements")
    broken = Pusher.login(aws).push(
        "jobs/requirements",
        "1.0.0",
        [layer({"opt/program/main.py": "", "opt/program/requirements.txt": "./no-such-folder\n"})],
        {"Entrypoint": ["python", "main.py"], "WorkingDir": "/opt/program"},
    )
    job = ended(
        sagemaker, train(AlgorithmSpecification={"TrainingImage": broken, "TrainingInputMode": "File"})
    )
    assert job["TrainingJobStatus"] == "Failed"
    assert "could not be installed" in job["FailureReason"]
    assert "no-such-folder" in job["FailureReason"]


def test_a_job_nobody_made(sagemaker: Any) -> None:
    for call, arguments, message in (
        (sagemaker.describe_training_job, {"TrainingJobName": "none"}, "Requested resource not found"),
        (sagemaker.stop_training_job, {"TrainingJobName": "none"}, "Requested resource not found"),
        (sagemaker.describe_processing_job, {"ProcessingJobName": "none"}, "Could not find requested job"),
    ):
        with pytest.raises(ClientError) as caught:
            call(**arguments)
        assert caught.value.response["Error"]["Code"] == "ValidationException"
        assert message in caught.value.response["Error"]["Message"]


# -- processing ---------------------------------------------------------------------------------------------


@pytest.fixture
def process(sagemaker: Any, s3: Any, image: str) -> Callable[..., str]:
    assert s3
    name = f"process-{uuid.uuid4()}"

    def create(do: str = "", **more: Any) -> str:
        arguments = {
            "ProcessingJobName": name,
            "RoleArn": ROLE,
            "AppSpecification": {"ImageUri": image, "ContainerArguments": ["evaluate"]},
            "ProcessingInputs": [
                {
                    "InputName": "test",
                    "S3Input": {
                        "S3Uri": f"s3://{BUCKET}/data/test/",
                        "LocalPath": "/opt/ml/processing/test",
                        "S3DataType": "S3Prefix",
                        "S3InputMode": "File",
                    },
                }
            ],
            "ProcessingOutputConfig": {
                "Outputs": [
                    {
                        "OutputName": "evaluation",
                        "S3Output": {
                            "S3Uri": f"s3://{BUCKET}/{name}/challenger/",
                            "LocalPath": "/opt/ml/processing/evaluation",
                            "S3UploadMode": "EndOfJob",
                        },
                    }
                ]
            },
            "ProcessingResources": {
                "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.t3.medium", "VolumeSizeInGB": 5}
            },
            "Environment": {"DO": do},
            **more,
        }
        sagemaker.create_processing_job(**arguments)
        return name

    return create


def processed(sagemaker: Any, name: str) -> dict[str, Any]:
    def look() -> Any:
        job = sagemaker.describe_processing_job(ProcessingJobName=name)
        return job if job["ProcessingJobStatus"] in ("Completed", "Failed", "Stopped") else None

    job: dict[str, Any] = wait_for(look, 60)
    return job


def test_a_processing_job_reads_inputs_and_uploads_outputs(
    aws: LocalAws, sagemaker: Any, s3: Any, process: Callable[..., str]
) -> None:
    name = process()
    job = processed(sagemaker, name)
    assert job["ProcessingJobStatus"] == "Completed", job
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{name}/")["Contents"]]
    # the link out of the folder stays where it is
    assert keys == [f"{name}/challenger/curves/roc.csv", f"{name}/challenger/evaluation.json"]
    body = s3.get_object(Bucket=BUCKET, Key=keys[1])["Body"].read()
    assert json.loads(body) == {"test": "5,6"}
    lines = log_lines(aws, "/aws/sagemaker/ProcessingJobs", f"{name}/algo-1")
    assert lines[0].startswith("verb evaluate")


def test_a_failed_processing_job_sends_one_to_its_log(sagemaker: Any, process: Callable[..., str]) -> None:
    job = processed(sagemaker, process("fail"))
    assert job["ProcessingJobStatus"] == "Failed"
    assert job["FailureReason"] == "AlgorithmError: See job logs for more information"
    assert job["ExitMessage"] == "rows read: 0"


def test_a_processing_job_stops(sagemaker: Any, process: Callable[..., str]) -> None:
    name = process("hang")
    time.sleep(0.5)
    with pytest.raises(sagemaker.exceptions.ResourceInUse):
        process()
    sagemaker.stop_processing_job(ProcessingJobName=name)
    assert processed(sagemaker, name)["ProcessingJobStatus"] == "Stopped"


@pytest.mark.parametrize("path", ["/etc", "/opt/ml/processing/../../etc", "/opt/ml/model"])
def test_paths_outside_processing_are_refused(process: Callable[..., str], path: str) -> None:
    transfer = {"S3Uri": f"s3://{BUCKET}/x/", "LocalPath": path, "S3UploadMode": "EndOfJob"}
    with pytest.raises(ClientError, match="LocalPath must start with /opt/ml/processing"):
        process(ProcessingOutputConfig={"Outputs": [{"OutputName": "x", "S3Output": transfer}]})


def test_jobs_are_listed_oldest_first(sagemaker: Any) -> None:
    jobs = sagemaker.list_processing_jobs(MaxResults=100)["ProcessingJobSummaries"]
    times = [job["CreationTime"] for job in jobs]
    assert len(times) >= 3
    assert times == sorted(times)
