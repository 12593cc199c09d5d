"""From what failed tasks leave behind to a message that says what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.stub import Stubber

from mlops.base.errors import EvidenceError
from mlops.base.strict_json import encode
from mlops.clients.aws.sagemaker import JobKind
from mlops.contracts.evidence import Failure
from mlops.contracts.runs import TrainingConf
from mlops.notifications.failure_cause import (
    FailedRun,
    StartedJob,
    TaskError,
    advice,
    explain,
    stop_jobs,
    subject,
    task_error,
    timed_out,
)

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sagemaker import SageMakerClient

ABOUT = FailedRun(
    dag_id="model_training", run_id="r.1", model="phishing-url", model_version="1.3.0+retrain.0"
)


def client(service: str) -> Any:
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="eu-west-1")
    return session.client(service)  # type: ignore[call-overload]


def unreachable(service: str) -> Any:
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="eu-west-1")
    once = Config(retries={"total_max_attempts": 1})
    return session.client(service, endpoint_url="http://127.0.0.1:9", config=once)  # type: ignore[call-overload]


def refusing(service: str, call: str) -> Any:
    made = client(service)
    stub = Stubber(made)
    stub.add_client_error(call, "ThrottlingException", "Rate exceeded")
    stub.activate()
    return made


@pytest.fixture
def sagemaker() -> SageMakerClient:
    made: SageMakerClient = client("sagemaker")
    return made


@pytest.fixture
def logs() -> CloudWatchLogsClient:
    made: CloudWatchLogsClient = client("logs")
    return made


def test_an_error_of_ours_keeps_its_advice_however_it_is_wrapped() -> None:
    ours = EvidenceError("no metric 'f1'", cause="wrote f2", next_step="Write f1.")
    try:
        try:
            raise ours
        except EvidenceError as error:
            raise RuntimeError("task failed") from error
    except RuntimeError as error:
        found = task_error("compare", error, "https://log")
    assert found == TaskError(
        task_id="compare", what="no metric 'f1'\nwrote f2", next_step="Write f1.", log_url="https://log"
    )


def test_a_foreign_error_is_named_by_its_type() -> None:
    assert task_error("train", ValueError("x"), "u").what == "ValueError: x"


def test_what_an_error_quotes_can_be_handed_over() -> None:
    ours = EvidenceError("no JSON", cause="found \x00\ud800")
    assert task_error("confirm", ours, "u").what == "no JSON\nfound \ufffd\ufffd"
    assert task_error("train", ValueError("\x00"), "u").what == "ValueError: \ufffd"


def test_a_task_without_a_word_lost_its_worker(
    sagemaker: SageMakerClient, logs: CloudWatchLogsClient
) -> None:
    failure = explain(ABOUT, [TaskError(task_id="train")], sagemaker, logs)
    assert "ended without a result" in failure.cause
    assert failure.next_step.startswith("Run the job again")


def test_an_image_that_sagemaker_does_not_take_is_to_be_released_again(
    sagemaker: SageMakerClient, logs: CloudWatchLogsClient
) -> None:
    said = "ClientError: An error occurred (ValidationException) when calling the CreateModel operation: "
    said += "Unsupported manifest media type application/vnd.oci.image.manifest.v1+json for image i."
    failure = explain(ABOUT, [TaskError(task_id="register", what=said)], sagemaker, logs)
    assert failure.next_step.startswith("Run a pipeline of the default branch")


def test_the_reason_of_the_job_is_the_cause_and_others_are_named(
    sagemaker: SageMakerClient, logs: CloudWatchLogsClient
) -> None:
    about = FailedRun(
        dag_id="d",
        run_id="r",
        jobs={"evaluate_champion": StartedJob(kind="processing", name="j")},
        log_url_template="https://x/{stream}",
    )
    job = {
        "ProcessingJobName": "j",
        "ProcessingJobArn": "arn:aws:sagemaker:eu-west-1:123456789012:processing-job/j",
        "ProcessingJobStatus": "Failed",
        "FailureReason": "AlgorithmError: exit code 1",
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
        },
        "AppSpecification": {"ImageUri": "i"},
        "CreationTime": 0,
    }
    errors = [
        TaskError(task_id="evaluate_champion", what="Trigger failure", log_url="https://airflow"),
        TaskError(task_id="evaluate_challenger", what="x"),
    ]
    with Stubber(sagemaker) as stub, Stubber(logs) as log_stub:
        stub.add_response("describe_processing_job", job, {"ProcessingJobName": "j"})
        log_stub.add_response("describe_log_streams", {"logStreams": [{"logStreamName": "j/algo-1"}]})
        log_stub.add_response("get_log_events", {"events": [{"message": "KeyError: 'age'"}]})
        failure = explain(about, errors, sagemaker, logs)
    assert failure.cause == (
        "AlgorithmError: exit code 1\nLast lines of its log:\nKeyError: 'age'\nAlso failed: evaluate_challenger"
    )
    assert failure.log_url == "https://x/j%2Falgo-1"
    assert "Correct it and push" in failure.next_step


@pytest.mark.parametrize("kind", ["training", "processing"])
def test_a_job_that_outlives_its_task_is_named_and_how_to_go_on(
    sagemaker: SageMakerClient, logs: CloudWatchLogsClient, kind: JobKind
) -> None:
    about = replace(ABOUT, jobs={"train": StartedJob(kind=kind, name="j")})
    began = {
        "training": {"SecondaryStatus": "Training", "ModelArtifacts": {"S3ModelArtifacts": "s3://b/m"}},
        "processing": {},
    }
    member = kind.capitalize()
    running: dict[str, Any] = {
        f"{member}JobName": "j",
        f"{member}JobArn": f"arn:aws:sagemaker:eu-west-1:123456789012:{kind}-job/j",
        f"{member}JobStatus": "InProgress",
        "AlgorithmSpecification": {"TrainingImage": "i", "TrainingInputMode": "File"},
        "AppSpecification": {"ImageUri": "i"},
        "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1},
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        "CreationTime": 0,
        **began[kind],
    }
    shape = sagemaker.meta.service_model.operation_model(f"Describe{member}Job").output_shape
    assert shape is not None
    running = {key: value for key, value in running.items() if key in shape.members}
    with Stubber(sagemaker) as stub:
        for _ in range(2):
            stub.add_response(f"describe_{kind}_job", running, {f"{member}JobName": "j"})
        failure = explain(about, [TaskError(task_id="train", what="KeyError: 'x'")], sagemaker, logs)
    assert failure.cause == "KeyError: 'x'\nThe task failed, not its job: j still runs, and was not stopped."
    assert failure.next_step.startswith(
        "Clear the task train of this run in Airflow: it goes on with that job"
    )
    assert failure.next_step.endswith(f"aws sagemaker stop-{kind}-job --{kind}-job-name j")


def test_a_failure_is_told_where_sagemaker_does_not_say_why(logs: CloudWatchLogsClient) -> None:
    error = TaskError(task_id="train", what="Trigger failure", log_url="https://airflow")
    for silent in (unreachable("sagemaker"), refusing("sagemaker", "describe_training_job")):
        about = replace(ABOUT, jobs={"train": StartedJob(kind="training", name="j")})
        failure = explain(about, [error], silent, logs)
        stop_jobs(about.jobs, unreachable("sagemaker"))
        assert (failure.cause, failure.log_url) == ("Trigger failure", "https://airflow")


BEGAN = "2026-01-02T03:04:05+00:00"
BEGAN_MS = 1767323045000
NO_PING = "The container did not pass the ping health check."


def endpoint_failure(
    sagemaker: SageMakerClient,
    logs: CloudWatchLogsClient,
    streams: dict[str, int] | str,
    what: str,
    **lines: str,
) -> Failure:
    """The failure of a deployment, where the endpoint's log has these streams, by creation, or answers so."""
    about = FailedRun(dag_id="d", run_id="r", endpoint="e", changed_since=BEGAN)
    with Stubber(logs) as stub:
        wanted = {
            "logGroupName": "/aws/sagemaker/Endpoints/e",
            "orderBy": "LastEventTime",
            "descending": True,
        }
        if isinstance(streams, str):
            stub.add_client_error("describe_log_streams", streams)
        else:
            listed = [
                {"logStreamName": f"AllTraffic/{name}", "creationTime": made}
                for name, made in streams.items()
            ]
            stub.add_response("describe_log_streams", {"logStreams": listed}, wanted)
        for name, line in lines.items():
            stub.add_response(
                "get_log_events",
                {"events": [{"message": line}]},
                {**READ, "logStreamName": f"AllTraffic/{name}"},
            )
        error = TaskError(task_id="confirm", what=what, next_step="Deploy again.")
        failure = explain(about, [error], sagemaker, logs)
        stub.assert_no_pending_responses()
    return failure


READ = {"logGroupName": "/aws/sagemaker/Endpoints/e", "limit": 15, "startFromHead": False}


def test_an_endpoint_that_did_not_come_up_brings_the_log_of_its_new_container(
    sagemaker: SageMakerClient, logs: CloudWatchLogsClient
) -> None:
    """Not that of the one before, which is the last to have written."""
    streams = {"old": BEGAN_MS - 60_000, "new": BEGAN_MS + 5_000}
    failure = endpoint_failure(sagemaker, logs, streams, "was rolled back", new="ImportError: numpy")
    assert failure.cause == "was rolled back\nLast lines of its log:\nImportError: numpy"


def test_a_version_that_could_not_be_tested_is_not_left_to_a_job_that_finds_nothing_to_do(
    sagemaker: SageMakerClient, logs: CloudWatchLogsClient
) -> None:
    about = FailedRun(dag_id="d", run_id="r", endpoint="e", changed_since=BEGAN)
    asked = TaskError(task_id="confirm", what="EndpointConnectionError: Could not connect")
    with Stubber(logs) as stub:
        stub.add_client_error("describe_log_streams", "AccessDeniedException")
        failure = explain(about, [asked], sagemaker, logs)
    assert failure.next_step.startswith("Clear the task confirm of this run in Airflow")


@pytest.mark.parametrize("streams", [{"old": BEGAN_MS - 1}, {}, "ResourceNotFoundException"])
def test_a_container_that_wrote_nothing_is_not_explained_by_another(
    sagemaker: SageMakerClient, logs: CloudWatchLogsClient, streams: dict[str, int] | str
) -> None:
    failure = endpoint_failure(sagemaker, logs, streams, NO_PING)
    assert failure.cause == f"{NO_PING}\nThe new container wrote nothing to its log."
    assert failure.next_step.startswith("Deploy again. A container must answer GET /ping")
    for word in ("SAGEMAKER_BIND_TO_PORT", "8080", "all addresses", "startup_timeout", "ENTRYPOINT"):
        assert word in failure.next_step


def test_nothing_is_said_of_a_log_that_cannot_be_read(
    sagemaker: SageMakerClient, logs: CloudWatchLogsClient
) -> None:
    failure = endpoint_failure(sagemaker, logs, "AccessDeniedException", "The smoke test failed")
    assert (failure.cause, failure.next_step) == ("The smoke test failed", "Deploy again.")


@pytest.mark.parametrize(
    ("reason", "step"),
    [
        ("CapacityError: Unable to provision requested ML compute capacity.", "another instance type"),
        ("InternalServerError: We encountered an internal error.", "run the job again"),
        ("AlgorithmError: , exit code: 1", "Correct it and push"),
        ("ClientError: Data download failed", "could not use what it was given"),
        ("The job was stopped (MaxRuntimeExceeded).", "Raise the time limit"),
        ("something new", "Run the job again"),
    ],
)
def test_the_advice_follows_from_whose_fault_it_was(reason: str, step: str) -> None:
    assert step in advice(reason)


def test_a_run_is_described_from_its_plan_or_from_an_unchecked_conf(training: TrainingConf) -> None:
    conf = encode(training)
    unchecked = subject(
        "model_training", "r", {**conf, "project": 7, "origin": "nonsense"}, {}, {"validate": None}
    )
    assert (unchecked.project, unchecked.model, unchecked.evidence_uri) == ("7", "phishing-url", "")
    assert unchecked.origin == {}
    plan = {"conf": conf, "settings": {"log_group_url": "https://x/{stream}"}}
    job = {"kind": "training", "name": "j"}
    known = subject("model_training", "r", {"conf_uri": "s3://b/c"}, plan, {"train": job})
    assert known.evidence_uri == training.evidence_uri
    assert known.jobs == {"train": StartedJob(kind="training", name="j")}
    assert known.origin["user"] == "ann"
    assert known.log_url_template == "https://x/{stream}"


def test_jobs_that_a_person_ended_are_stopped_and_ended_ones_left(sagemaker: SageMakerClient) -> None:
    jobs = {
        "train": StartedJob(kind="training", name="a"),
        "evaluate_champion": StartedJob(kind="processing", name="b"),
    }
    with Stubber(sagemaker) as stub:
        stub.add_client_error("stop_training_job", "ValidationException", "is in status Failed")
        stub.add_response("stop_processing_job", {}, {"ProcessingJobName": "b"})
        stop_jobs(jobs, sagemaker)
        stub.assert_no_pending_responses()


def test_a_run_that_took_too_long_says_so() -> None:
    failure = timed_out(ABOUT, "7 days, 0:00:00", "https://airflow")
    assert "longer than 7 days" in failure.cause
    assert "stop its SageMaker job" in failure.next_step
