"""What we ask SageMaker, and what we make of its answers; botocore checks both against its service model."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.stub import Stubber

from mlops.base.errors import EvidenceError
from mlops.clients.aws.job_logs import tail
from mlops.clients.aws.sagemaker import (
    ServedModel,
    describe_model,
    earlier_job,
    find_champion,
    job_failure,
    latest_model,
    list_models,
)

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sagemaker import SageMakerClient

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ARN = "arn:aws:sagemaker:eu-west-1:123456789012:"
ENDPOINT = "web-safety--phishing-url"
GONE = 'Could not find endpoint "arn:aws:sagemaker:eu-west-1:123456789012:endpoint/x".'
NEWEST_FIRST = {
    "NameContains": "web-safety--phishing-url--",
    "SortBy": "CreationTime",
    "SortOrder": "Descending",
    "MaxResults": 10,
}


def client(service: str) -> Any:
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="eu-west-1")
    return session.client(service)  # type: ignore[call-overload]


@pytest.fixture
def sagemaker() -> SageMakerClient:
    made: SageMakerClient = client("sagemaker")
    return made


@pytest.fixture
def stub(sagemaker: SageMakerClient) -> Iterator[Stubber]:
    with Stubber(sagemaker) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def page(*names: str, token: str = "") -> dict[str, Any]:
    models = [{"ModelName": name, "ModelArn": ARN + "model/" + name, "CreationTime": NOW} for name in names]
    return {"Models": models, **({"NextToken": token} if token else {})}


def endpoint(status: str, config: str = "c", **more: Any) -> dict[str, Any]:
    return {
        "EndpointName": ENDPOINT,
        "EndpointArn": ARN + "endpoint/" + ENDPOINT,
        "EndpointConfigName": config,
        "EndpointStatus": status,
        "CreationTime": NOW,
        "LastModifiedTime": NOW,
        **more,
    }


def config(name: str, model: str) -> dict[str, Any]:
    return {
        "EndpointConfigName": name,
        "EndpointConfigArn": ARN + "endpoint-config/" + name,
        "ProductionVariants": [{"VariantName": "AllTraffic", "ModelName": model}],
        "CreationTime": NOW,
    }


def test_a_search_takes_the_first_true_match_and_asks_no_more(
    sagemaker: SageMakerClient, stub: Stubber
) -> None:
    first = page(
        "data--web-safety--phishing-url--9-9-9--r0",  # contains the name, and is another project's
        "web-safety--phishing-url--1-3-0--r1",
        token="more",
    )
    stub.add_response("list_models", first, NEWEST_FIRST)
    found = latest_model(sagemaker, "web-safety", "phishing-url")
    assert found is not None
    assert (found.name, found.version) == ("web-safety--phishing-url--1-3-0--r1", "1.3.0+retrain.1")


def test_a_search_goes_on_over_pages_until_the_end(sagemaker: SageMakerClient, stub: Stubber) -> None:
    stub.add_response("list_models", page("web-safety--phishing-url--1-3-0--r1", token="more"), NEWEST_FIRST)
    second = page("web-safety--phishing-url--1-2-0--r0", "web-safety--phishing-url--01-2-0--r0")
    stub.add_response("list_models", second, {**NEWEST_FIRST, "NextToken": "more", "MaxResults": 100})
    versions = [one.version for one in list_models(sagemaker, "web-safety", "phishing-url")]
    assert versions == ["1.3.0+retrain.1", "1.2.0+retrain.0"]


def test_the_newest_model_of_one_image(sagemaker: SageMakerClient, stub: Stubber) -> None:
    def asked(image: str) -> dict[str, Any]:
        return {**NEWEST_FIRST, "NameContains": f"web-safety--phishing-url--{image}--r"}

    # Of another project, the second name contains what is asked for.
    both = page("a-web-safety--phishing-url--1-2-0--r9", "web-safety--phishing-url--1-2-0--r4")
    stub.add_response("list_models", both, asked("1-2-0"))
    found = latest_model(sagemaker, "web-safety", "phishing-url", "1.2.0")
    assert found is not None
    assert found.version == "1.2.0+retrain.4"
    stub.add_response("list_models", page("a-web-safety--phishing-url--7-0-0--r9"), asked("7-0-0"))
    assert latest_model(sagemaker, "web-safety", "phishing-url", "7.0.0") is None


def test_the_champion_is_what_the_endpoint_serves(sagemaker: SageMakerClient, stub: Stubber) -> None:
    name = "web-safety--phishing-url--1-2-0--r3"
    stub.add_response("describe_endpoint", endpoint("InService"), {"EndpointName": ENDPOINT})
    stub.add_response("describe_endpoint_config", config("c", name), {"EndpointConfigName": "c"})
    container = {"Image": "r/i@sha256:1", "ModelDataUrl": "s3://b/m.tar.gz", "Environment": {"A": "1"}}
    described = {
        "ModelName": name,
        "PrimaryContainer": container,
        "CreationTime": NOW,
        "ModelArn": ARN + "model/m",
    }
    stub.add_response("describe_model", described, {"ModelName": name})
    assert find_champion(sagemaker, "web-safety", "phishing-url") == ServedModel(
        name=name,
        version="1.2.0+retrain.3",
        image_uri="r/i@sha256:1",
        artifact="s3://b/m.tar.gz",
        endpoint_config="c",
        environment={"A": "1"},
    )


@pytest.mark.parametrize("status", ["Creating", "Failed", "Deleting", "OutOfService"])
def test_an_endpoint_that_serves_nobody_has_no_champion(
    sagemaker: SageMakerClient, stub: Stubber, status: str
) -> None:
    stub.add_response("describe_endpoint", endpoint(status))
    assert find_champion(sagemaker, "web-safety", "phishing-url") is None


def test_no_endpoint_means_no_champion(sagemaker: SageMakerClient, stub: Stubber) -> None:
    stub.add_client_error("describe_endpoint", "ValidationException", GONE, 400)
    assert find_champion(sagemaker, "web-safety", "phishing-url") is None


def test_an_endpoint_somebody_else_changed_is_named(sagemaker: SageMakerClient, stub: Stubber) -> None:
    stub.add_response("describe_endpoint", endpoint("InService"))
    stub.add_response("describe_endpoint_config", config("c", "my-notebook-model"))
    with pytest.raises(
        EvidenceError, match="serves 'my-notebook-model', which is not a version of web-safety"
    ):
        find_champion(sagemaker, "web-safety", "phishing-url")


def test_a_lack_of_permission_is_not_taken_for_an_absence(sagemaker: SageMakerClient, stub: Stubber) -> None:
    stub.add_client_error("describe_model", "AccessDeniedException", "not authorized", 400)
    with pytest.raises(sagemaker.exceptions.ClientError, match="not authorized"):
        describe_model(sagemaker, "m")


def training_job(status: str, **more: Any) -> dict[str, Any]:
    return {
        "TrainingJobName": "j",
        "TrainingJobArn": ARN + "training-job/j",
        "ModelArtifacts": {"S3ModelArtifacts": "s3://b/m"},
        "TrainingJobStatus": status,
        "SecondaryStatus": "MaxRuntimeExceeded" if status == "Stopped" else status,
        "AlgorithmSpecification": {"TrainingInputMode": "File"},
        "ResourceConfig": {"VolumeSizeInGB": 1},
        "StoppingCondition": {},
        "CreationTime": NOW,
        **more,
    }


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        (training_job("Failed", FailureReason="AlgorithmError: boom"), "AlgorithmError: boom"),
        (training_job("Stopped"), "The job was stopped (MaxRuntimeExceeded)."),
        (training_job("Failed"), "SageMaker gives no reason; the job's state is Failed."),
        (training_job("Completed"), ""),
        (training_job("InProgress"), ""),
    ],
)
def test_a_job_says_why_it_ended(
    sagemaker: SageMakerClient, stub: Stubber, job: dict[str, Any], reason: str
) -> None:
    stub.add_response("describe_training_job", job, {"TrainingJobName": "j"})
    assert job_failure(sagemaker, "training", "j") == reason


def test_a_job_that_never_began_has_no_reason(sagemaker: SageMakerClient, stub: Stubber) -> None:
    words = "Requested resource not found."
    stub.add_client_error("describe_training_job", "ValidationException", words, 400)
    assert job_failure(sagemaker, "training", "j") == ""


def test_the_end_of_a_log_and_where_the_rest_is() -> None:
    logs: CloudWatchLogsClient = client("logs")
    with Stubber(logs) as stubber:
        group = "/aws/sagemaker/TrainingJobs"
        stubber.add_response(
            "describe_log_streams",
            {
                "logStreams": [
                    {"logStreamName": "j/algo-0", "creationTime": 1},  # a spot machine that was taken away
                    {"logStreamName": "j/algo-1", "creationTime": 2},
                ]
            },
            {"logGroupName": group, "logStreamNamePrefix": "j/"},
        )
        stubber.add_response("get_log_events", {"events": [{"message": "one\n"}, {"message": "two"}]})
        found = tail(logs, group, "j/")
    assert found.lines == ("one", "two")
    assert found.url("https://x/{group}/{stream}") == "https://x/%2Faws%2Fsagemaker%2FTrainingJobs/j%2Falgo-1"
    assert found.url("") == ""


def test_a_log_that_cannot_be_read_is_left_out() -> None:
    logs: CloudWatchLogsClient = client("logs")
    with Stubber(logs) as stubber:
        stubber.add_client_error("describe_log_streams", "AccessDeniedException", "no", 400)
        found = tail(logs, "/g", "j/")
    assert (found.lines, found.url("https://x/{stream}")) == ((), "")


@pytest.mark.parametrize("own", [(), ("j-1",)])
def test_what_airflow_tries_again_by_itself_has_one_job_however_it_ended(
    sagemaker: SageMakerClient, stub: Stubber, own: tuple[str, ...]
) -> None:
    """A person who clears the task asks for another."""
    failed = {
        "ProcessingJobName": "j-1",
        "ProcessingJobArn": "arn:aws:sagemaker:eu-west-1:123456789012:processing-job/j-1",
        "ProcessingJobStatus": "Failed",
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
        },
        "AppSpecification": {"ImageUri": "i"},
        "Environment": {"MLOPS_MODEL": "m"},
        "CreationTime": 0,
    }
    stub.add_response("describe_processing_job", failed, {"ProcessingJobName": "j-1"})
    found = earlier_job(sagemaker, "processing", ["j-1"], {"MLOPS_MODEL": "m"}, own=own)
    assert found == ("j-1" if own else "")
