"""MWAA's API in front of Airflow's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from mlops_local.stack.stack import aws_environment

from .airflow_double import AirflowDouble
from .harness import ACCOUNT, REGION, ROLE, LocalAws, free_port, start, stop

ENVIRONMENT = "ml-ops-local"


@pytest.fixture(scope="module")
def mwaa(aws: LocalAws) -> Any:
    """As the Lambda reaches it: host prefixes and all, through the local AWS as a proxy."""
    return aws.client(
        "mwaa",
        endpoint_url="http://airflow.local",
        config=Config(proxies={"http": aws.endpoint}, retries={"max_attempts": 0}),
    )


@pytest.fixture(autouse=True)
def _fresh(airflow: AirflowDouble) -> Iterator[None]:
    yield
    airflow.answers.clear()
    airflow.asked.clear()


def refused(call: Any, **arguments: Any) -> Any:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value.response


def test_the_stack_s_environment_is_there_from_the_start(mwaa: Any) -> None:
    assert mwaa.list_environments()["Environments"] == [ENVIRONMENT]
    environment = mwaa.get_environment(Name=ENVIRONMENT)["Environment"]
    assert (environment["Status"], environment["AirflowVersion"]) == ("AVAILABLE", "3.2.1")
    assert environment["Arn"] == f"arn:aws:airflow:{REGION}:{ACCOUNT}:environment/{ENVIRONMENT}"


def test_it_answers_without_host_prefixes_too(aws: LocalAws) -> None:
    plain = aws.client("mwaa", config=Config(inject_host_prefix=False, proxies={}))
    assert plain.list_environments()["Environments"] == [ENVIRONMENT]


def test_a_call_goes_to_airflow_with_query_and_body(mwaa: Any, airflow: AirflowDouble) -> None:
    airflow.answers["POST /dags/model_training/dagRuns"] = (200, {"dag_run_id": "r1", "state": "queued"})
    airflow.answers["GET /dags?limit=2&only_active=true&tags=a&tags=b"] = (200, {"dags": []})
    body = {"dag_run_id": "r1", "logical_date": None, "conf": {"a": [1, {"b": None}]}}
    answer = mwaa.invoke_rest_api(
        Name=ENVIRONMENT, Path="/dags/model_training/dagRuns", Method="POST", Body=body
    )
    assert answer["RestApiStatusCode"] == 200
    assert answer["RestApiResponse"] == {"dag_run_id": "r1", "state": "queued"}
    query = {"limit": 2, "only_active": True, "tags": ["a", "b"]}
    mwaa.invoke_rest_api(Name=ENVIRONMENT, Path="/dags", Method="GET", QueryParameters=query)
    first, second = airflow.asked
    assert (first.method, first.path, first.body) == ("POST", "/dags/model_training/dagRuns", body)
    assert second.body is None


def test_the_token_is_kept_and_renewed_when_airflow_forgets_it(mwaa: Any, airflow: AirflowDouble) -> None:
    airflow.answers["GET /version"] = (200, {"version": "3.2.1"})
    for _ in range(3):
        mwaa.invoke_rest_api(Name=ENVIRONMENT, Path="/version", Method="GET")
    tokens = len(airflow.tokens)
    airflow.tokens.append("after a restart")
    answer = mwaa.invoke_rest_api(Name=ENVIRONMENT, Path="/version", Method="GET")
    assert answer["RestApiResponse"] == {"version": "3.2.1"}
    assert len(airflow.tokens) == tokens + 2


def test_an_answer_without_a_body(mwaa: Any, airflow: AirflowDouble) -> None:
    airflow.answers["DELETE /dags/x"] = (204, "")
    answer = mwaa.invoke_rest_api(Name=ENVIRONMENT, Path="/dags/x", Method="DELETE")
    assert answer["RestApiStatusCode"] == 204
    assert "RestApiResponse" not in answer


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "RestApiClientException"),
        (404, "RestApiClientException"),
        (409, "RestApiClientException"),
        (429, "RestApiClientException"),
        (500, "RestApiServerException"),
        (503, "RestApiServerException"),
    ],
)
def test_airflow_s_errors_are_client_errors_with_its_own_status(
    mwaa: Any, airflow: AirflowDouble, status: int, code: str
) -> None:
    airflow.answers["GET /dags/x"] = (status, {"detail": "so it is"})
    response = refused(mwaa.invoke_rest_api, Name=ENVIRONMENT, Path="/dags/x", Method="GET")
    assert response["Error"]["Code"] == code
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert response["RestApiStatusCode"] == status
    assert response["RestApiResponse"] == {"detail": "so it is"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ({"Path": "/dags/" + "x" * 59}, "ValidationException", "length less than or equal to 64"),
        ({"Method": "HEAD"}, "ValidationException", "enum value set: [GET, PUT, POST, PATCH, DELETE]"),
        ({"Name": "1st"}, "ValidationException", "regular expression pattern"),
        ({"Name": "elsewhere"}, "ResourceNotFoundException", "Environment elsewhere not found"),
    ],
)
def test_what_mwaa_itself_refuses(mwaa: Any, arguments: dict[str, str], code: str, message: str) -> None:
    wanted = {"Name": ENVIRONMENT, "Path": "/dags", "Method": "GET", **arguments}
    error = refused(mwaa.invoke_rest_api, **wanted)["Error"]
    assert error["Code"] == code
    assert message in error["Message"]


def test_a_path_of_64_characters_is_fine(mwaa: Any, airflow: AirflowDouble) -> None:
    path = "/dags/" + "x" * 58
    airflow.answers[f"GET {path}"] = (200, {})
    mwaa.invoke_rest_api(Name=ENVIRONMENT, Path=path, Method="GET")


@pytest.fixture(scope="module")
def source(client: Any) -> dict[str, str]:
    """A bucket as MWAA wants it, and the version of a requirements.txt there."""
    s3 = client("s3")
    s3.create_bucket(Bucket="airflow", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_versioning(Bucket="airflow", VersioningConfiguration={"Status": "Enabled"})
    closed = dict.fromkeys(
        ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
    )
    s3.put_public_access_block(Bucket="airflow", PublicAccessBlockConfiguration=closed)
    version = s3.put_object(Bucket="airflow", Key="requirements.txt", Body=b"semver")["VersionId"]
    s3.create_bucket(Bucket="open", CreateBucketConfiguration={"LocationConstraint": REGION})
    return {"RequirementsS3Path": "requirements.txt", "RequirementsS3ObjectVersion": version}


def wanted(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "Name": name,
        "ExecutionRoleArn": ROLE,
        "SourceBucketArn": "arn:aws:s3:::airflow",
        "DagS3Path": "dags",
        "NetworkConfiguration": {"SubnetIds": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]},
    } | changes


def settled(mwaa: Any, name: str, during: str) -> dict[str, Any]:
    """The environment once it is available again; until then it says what is going on."""
    deadline = time.monotonic() + 20
    seen = {during}
    while time.monotonic() < deadline:
        environment: dict[str, Any] = mwaa.get_environment(Name=name)["Environment"]
        if environment["Status"] == "AVAILABLE":
            assert environment["LastUpdate"]["Status"] == "SUCCESS"
            return environment
        seen.add(environment["Status"])
        assert seen == {during}
        assert environment["LastUpdate"]["Status"] == "PENDING"
        time.sleep(0.05)
    raise AssertionError(f"still {seen}")


def test_terraform_s_life_of_an_environment(mwaa: Any, client: Any, source: dict[str, str]) -> None:
    logs = {"TaskLogs": {"Enabled": True, "LogLevel": "WARNING"}}
    arn = mwaa.create_environment(
        **wanted("team-a", LoggingConfiguration=logs, Tags={"team": "a"}, **source)
    )["Arn"]
    for call in (mwaa.update_environment, mwaa.delete_environment):
        assert "while its status is CREATING" in refused(call, Name="team-a")["Error"]["Message"]
    assert "already exists" in refused(mwaa.create_environment, **wanted("team-a"))["Error"]["Message"]
    before = settled(mwaa, "team-a", "CREATING")
    assert client("logs").describe_log_groups(logGroupNamePrefix="airflow-team-a-")["logGroups"]

    mwaa.update_environment(
        Name="team-a", MaxWorkers=3, LoggingConfiguration={"TaskLogs": {"Enabled": True, "LogLevel": "INFO"}}
    )
    mwaa.tag_resource(ResourceArn=arn, Tags={"stage": "dev"})
    mwaa.untag_resource(ResourceArn=arn, tagKeys=["team"])
    environment = settled(mwaa, "team-a", "UPDATING")
    assert (environment["MaxWorkers"], environment["Tags"]) == (3, {"stage": "dev"})
    assert {name: environment[name] for name in source} == source
    assert environment["NetworkConfiguration"] == before["NetworkConfiguration"]
    tasks = environment["LoggingConfiguration"]["TaskLogs"]
    assert tasks["LogLevel"] == "INFO"
    assert tasks["CloudWatchLogGroupArn"].endswith(":log-group:airflow-team-a-Task")
    assert mwaa.list_tags_for_resource(ResourceArn=arn)["Tags"] == {"stage": "dev"}

    mwaa.delete_environment(Name="team-a")
    assert mwaa.get_environment(Name="team-a")["Environment"]["Status"] == "DELETING"
    deadline = time.monotonic() + 20
    with pytest.raises(ClientError) as caught:
        while time.monotonic() < deadline:
            assert mwaa.get_environment(Name="team-a")["Environment"]["Status"] == "DELETING"
            time.sleep(0.05)
    assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"AirflowVersion": "2.0.2"}, "AirflowVersion 2.0.2 is not supported"),
        ({"SourceBucketArn": "arn:aws:s3:::nowhere"}, "Unable to read PublicAccessBlock configuration"),
        ({"SourceBucketArn": "arn:aws:s3:::open"}, "Unable to read PublicAccessBlock configuration"),
        ({"RequirementsS3ObjectVersion": "none"}, "no version none of requirements.txt"),
        ({"RequirementsS3ObjectVersion": None}, "RequirementsS3ObjectVersion is required"),
    ],
)
def test_an_environment_that_could_not_come_up(
    mwaa: Any, source: dict[str, str], changes: dict[str, Any], message: str
) -> None:
    asked = {
        name: value for name, value in (wanted("team-b") | source | changes).items() if value is not None
    }
    error = refused(mwaa.create_environment, **asked)["Error"]
    assert error["Code"] == "ValidationException"
    assert message in error["Message"]
    assert "team-b" not in mwaa.list_environments()["Environments"]


def test_a_version_is_changed_in_place_within_a_major_one(mwaa: Any, source: dict[str, str]) -> None:
    mwaa.create_environment(**wanted("team-c", AirflowVersion="3.0.6", **source))
    settled(mwaa, "team-c", "CREATING")
    error = refused(mwaa.update_environment, Name="team-c", AirflowVersion="2.11.0")["Error"]
    assert "from 3.0.6 to 2.11.0 is not supported" in error["Message"]
    error = refused(mwaa.update_environment, Name="team-c", RequirementsS3ObjectVersion="none")["Error"]
    assert "no version none" in error["Message"]
    mwaa.update_environment(Name="team-c", AirflowVersion="3.2.1", WorkerReplacementStrategy="GRACEFUL")
    environment = settled(mwaa, "team-c", "UPDATING")
    assert environment["AirflowVersion"] == "3.2.1"
    assert environment["LastUpdate"]["WorkerReplacementStrategy"] == "GRACEFUL"
    mwaa.delete_environment(Name="team-c")


def test_airflow_that_is_down_is_a_server_error(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("down") / "aws"
    running = start(home, f"http://127.0.0.1:{free_port()}")
    try:
        mwaa = running.client("mwaa", config=Config(inject_host_prefix=False, retries={"max_attempts": 0}))
        response = refused(mwaa.invoke_rest_api, Name=ENVIRONMENT, Path="/dags", Method="GET")
    finally:
        stop(running)
    assert response["Error"]["Code"] == "RestApiServerException"
    assert response["RestApiStatusCode"] == 503
    assert "cannot be reached" in response["RestApiResponse"]["detail"]


def test_any_client_finds_it_by_the_variables_of_mlops_local_env(
    aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `aws mwaa` does, which would ask api.127.0.0.1 otherwise."""
    for name, value in aws_environment(aws.endpoint, REGION, "test").items():
        monkeypatch.setenv(name, value)
    assert boto3.client("mwaa").list_environments()["Environments"]


def test_a_client_of_another_region_finds_nothing(aws: LocalAws) -> None:
    for service, call in (("mwaa", "list_environments"), ("sagemaker", "list_models")):
        session = boto3.Session(
            aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
        )
        options = {"endpoint_url": aws.endpoint, "config": Config(inject_host_prefix=False, proxies={})}
        client: Any = session.client(service, **options)  # type: ignore[call-overload]
        with pytest.raises(
            ClientError, match="The local account is in eu-west-1, and this request is for us-east-1"
        ):
            getattr(client, call)()
