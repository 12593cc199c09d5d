"""Deployments in all the states an endpoint can be in; botocore checks every request and answer."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.response import StreamingBody
from botocore.stub import ANY, Stubber

from mlops.base.errors import DeploymentRefusedError, RunFailedError, StorageError
from mlops.ci.merged import check_merged
from mlops.clients.aws.sagemaker import ServedModel
from mlops.clients.aws.sagemaker_requests import endpoint_config, renamed
from mlops.contracts.platform_settings import PlatformSettings
from mlops.contracts.runs import DataCapture, DeploymentConf
from mlops.deployment import tasks
from mlops.deployment.approval import Approval, OvertakenApproval
from mlops.deployment.tasks import DeploymentPlan, confirm, put_endpoint, smoke_test

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

NOW = datetime(2026, 1, 2, tzinfo=UTC)
NAME = "web-safety--phishing-url"
CONFIG = f"{NAME}--1-3-0--r0"
OLD = f"{NAME}--1-2-0--r0"
ARN = f"arn:aws:sagemaker:eu-west-1:123456789012:endpoint/{NAME}"
UNSEEN = f'Could not find endpoint configuration "arn:aws:sagemaker:eu-west-1:123456789012:endpoint-config/{CONFIG}".'
GONE = f'Could not find endpoint "{ARN}".'
GOOD = {"predictions": [1], "model": {"version": "1.3.0+retrain.0"}}
BEFORE = ServedModel(
    name=OLD, version="1.2.0+retrain.0", image_uri="i", artifact="s3://b/m", endpoint_config=OLD
)


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


@pytest.fixture
def runtime() -> SageMakerRuntimeClient:
    made: SageMakerRuntimeClient = client("sagemaker-runtime")
    return made


@pytest.fixture
def answers(runtime: SageMakerRuntimeClient) -> Iterator[Stubber]:
    with Stubber(runtime) as stubber:
        yield stubber


@pytest.fixture
def plan(deployment: DeploymentConf) -> DeploymentPlan:
    return DeploymentPlan(
        conf=deployment,
        settings=PlatformSettings(
            environment="test",
            region="eu-west-1",
            bucket="ml-ops-test",
            execution_role_arn="arn:aws:iam::123456789012:role/x",
            topic_arn="arn:aws:sns:eu-west-1:123456789012:t",
            trigger_function="f",
            airflow_environment="a",
            slack_secret="s",
        ),
        run_id="r",
        endpoint_config=endpoint_config(CONFIG, deployment.deployment, []),
        config_exists=False,
        before=BEFORE,
    )


def endpoint(status: str, config: str, **more: Any) -> dict[str, Any]:
    return {
        "EndpointName": NAME,
        "EndpointArn": ARN,
        "EndpointConfigName": config,
        "EndpointStatus": status,
        "CreationTime": NOW,
        "LastModifiedTime": NOW,
        **more,
    }


def answer(document: object) -> dict[str, Any]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return {"Body": StreamingBody(io.BytesIO(body), len(body)), "ContentType": "application/json"}


def no_pause(_seconds: float) -> None:
    pass


def test_a_first_endpoint_is_created_with_tags(
    sagemaker: SageMakerClient, stub: Stubber, plan: DeploymentPlan
) -> None:
    stub.add_client_error("describe_endpoint", "ValidationException", GONE)
    wanted = {"EndpointName": NAME, "EndpointConfigName": CONFIG, "Tags": ANY}
    stub.add_response("create_endpoint", {"EndpointArn": ARN}, wanted)
    put_endpoint(plan, sagemaker, no_pause)


def test_a_configuration_that_is_not_seen_yet_is_waited_for(
    sagemaker: SageMakerClient, stub: Stubber, plan: DeploymentPlan
) -> None:
    stub.add_client_error("describe_endpoint", "ValidationException", GONE)
    stub.add_client_error("create_endpoint", "ValidationException", UNSEEN)
    stub.add_client_error("create_endpoint", "ValidationException", UNSEEN)
    stub.add_response("create_endpoint", {"EndpointArn": ARN})
    pauses: list[float] = []
    put_endpoint(plan, sagemaker, pauses.append)
    assert pauses == [1.0, 2.0]


def test_another_error_is_not_waited_for(
    sagemaker: SageMakerClient, stub: Stubber, plan: DeploymentPlan
) -> None:
    stub.add_client_error("describe_endpoint", "ValidationException", GONE)
    stub.add_client_error("create_endpoint", "ResourceLimitExceeded", "no more endpoints")
    with pytest.raises(sagemaker.exceptions.ClientError, match="no more endpoints"):
        put_endpoint(plan, sagemaker, no_pause)


def described(plan: DeploymentPlan, name: str, **variant: Any) -> dict[str, Any]:
    """DescribeEndpointConfig of a configuration as the plan's, but for `variant`; SageMaker says more than was asked."""
    (asked,) = plan.endpoint_config["ProductionVariants"]
    return {
        "EndpointConfigName": name,
        "EndpointConfigArn": f"arn:aws:sagemaker:eu-west-1:123456789012:endpoint-config/{name}",
        "ProductionVariants": [{**asked, "VolumeSizeInGB": 30, **variant}],
        "CreationTime": NOW,
    }


def kept(*excluded: str) -> dict[str, Any]:
    return {
        "RetainAllVariantProperties": True,
        "ExcludeRetainedVariantProperties": [{"VariantPropertyType": name} for name in excluded],
    }


WEIGHT, COUNT = "DesiredWeight", "DesiredInstanceCount"


@pytest.mark.parametrize(
    ("variant", "more"),
    [
        ({"ModelName": OLD}, kept(WEIGHT)),
        ({"InitialInstanceCount": 2}, kept(WEIGHT, COUNT)),
        ({"InstanceType": "ml.c5.xlarge"}, kept(WEIGHT, COUNT)),
    ],
)
def test_an_endpoint_in_service_is_updated_and_stays_as_large_as_it_is(
    sagemaker: SageMakerClient,
    stub: Stubber,
    plan: DeploymentPlan,
    variant: dict[str, Any],
    more: dict[str, Any],
) -> None:
    """But a count that mlops.yml changed, or other machines, takes effect."""
    stub.add_response("describe_endpoint", endpoint("InService", OLD))
    stub.add_response(
        "describe_endpoint_config", described(plan, OLD, **variant), {"EndpointConfigName": OLD}
    )
    wanted = {"EndpointName": NAME, "EndpointConfigName": CONFIG, **more}
    stub.add_response("update_endpoint", {"EndpointArn": ARN}, wanted)
    put_endpoint(plan, sagemaker, no_pause)


def test_a_count_is_kept_though_the_configuration_is_gone(
    sagemaker: SageMakerClient, stub: Stubber, plan: DeploymentPlan
) -> None:
    stub.add_response("describe_endpoint", endpoint("InService", OLD))
    stub.add_client_error("describe_endpoint_config", "ValidationException", UNSEEN)
    wanted = {"EndpointName": NAME, "EndpointConfigName": CONFIG, **kept(WEIGHT)}
    stub.add_response("update_endpoint", {"EndpointArn": ARN}, wanted)
    put_endpoint(plan, sagemaker, no_pause)


@pytest.mark.parametrize("before", [True, False])
def test_a_change_of_what_is_captured_takes_effect(
    sagemaker: SageMakerClient, stub: Stubber, plan: DeploymentPlan, *, before: bool
) -> None:
    capture = DataCapture(destination="s3://b/capture/", sampling_percent=100)
    deployment = replace(plan.conf.deployment, data_capture=capture)
    captures = replace(plan, endpoint_config=endpoint_config(CONFIG, deployment, []))
    found = described(plan, OLD)
    if before:
        found["DataCaptureConfig"] = captures.endpoint_config["DataCaptureConfig"]
    stub.add_response("describe_endpoint", endpoint("InService", OLD))
    stub.add_response("describe_endpoint_config", found, {"EndpointConfigName": OLD})
    wanted = {"EndpointName": NAME, "EndpointConfigName": CONFIG, "RetainAllVariantProperties": False}
    stub.add_response("update_endpoint", {"EndpointArn": ARN}, wanted)
    put_endpoint(plan if before else captures, sagemaker, no_pause)


IN_PROGRESS = f'Cannot update in-progress endpoint "{ARN}".'
TAKEN = f'Cannot create already existing endpoint "{ARN}".'
OTHERS = f"{NAME}--1-4-0--r0"


@pytest.mark.parametrize(
    ("before", "call", "refusal", "after"),
    [
        (
            endpoint("InService", OLD),
            "update_endpoint",
            IN_PROGRESS,
            endpoint("Updating", OLD, PendingDeploymentSummary={"EndpointConfigName": OTHERS}),
        ),
        (None, "create_endpoint", TAKEN, endpoint("Creating", OTHERS)),
    ],
)
def test_of_two_deployments_at_once_one_goes_on_and_the_other_is_refused(
    sagemaker: SageMakerClient,
    stub: Stubber,
    plan: DeploymentPlan,
    before: dict[str, Any] | None,
    call: str,
    refusal: str,
    after: dict[str, Any],
) -> None:
    if before is None:
        stub.add_client_error("describe_endpoint", "ValidationException", GONE)
    else:
        stub.add_response("describe_endpoint", before)
        stub.add_response("describe_endpoint_config", described(plan, OLD))
    stub.add_client_error(call, "ValidationException", refusal)
    stub.add_response("describe_endpoint", after)
    with pytest.raises(DeploymentRefusedError, match="cannot be changed now") as caught:
        put_endpoint(plan, sagemaker, no_pause)
    assert caught.value.next_step == "Wait for the other deployment and try again."


def test_two_runs_of_one_deployment_at_once_are_no_quarrel(
    sagemaker: SageMakerClient, stub: Stubber, plan: DeploymentPlan
) -> None:
    stub.add_response("describe_endpoint", endpoint("InService", OLD))
    stub.add_response("describe_endpoint_config", described(plan, OLD))
    stub.add_client_error("update_endpoint", "ValidationException", IN_PROGRESS)
    again = endpoint("Updating", OLD, PendingDeploymentSummary={"EndpointConfigName": CONFIG})
    stub.add_response("describe_endpoint", again)
    assert put_endpoint(plan, sagemaker, no_pause) is False


@pytest.mark.parametrize(
    "found",
    [
        endpoint("InService", CONFIG),
        endpoint("Creating", CONFIG),
        endpoint("Updating", OLD, PendingDeploymentSummary={"EndpointConfigName": CONFIG}),
    ],
)
def test_what_is_done_or_begun_is_not_begun_again(
    sagemaker: SageMakerClient, stub: Stubber, plan: DeploymentPlan, found: dict[str, Any]
) -> None:
    stub.add_response("describe_endpoint", found)
    put_endpoint(plan, sagemaker, no_pause)


@pytest.mark.parametrize("before", [BEFORE, None])
def test_an_endpoint_that_changed_since_the_evidence_was_checked_is_left_alone(
    sagemaker: SageMakerClient, stub: Stubber, plan: DeploymentPlan, before: ServedModel | None
) -> None:
    stub.add_response("describe_endpoint", endpoint("InService", f"{NAME}--1-2-5--r0"))
    with pytest.raises(DeploymentRefusedError, match="was changed since") as caught:
        put_endpoint(replace(plan, before=before), sagemaker, no_pause)
    assert "--1-2-5--r0" in caught.value.cause
    assert "deploy again" in caught.value.next_step


def test_an_update_to_something_else_is_not_taken_for_ours(
    sagemaker: SageMakerClient, stub: Stubber, plan: DeploymentPlan
) -> None:
    other = {"EndpointConfigName": f"{NAME}--1-2-5--r0"}
    stub.add_response("describe_endpoint", endpoint("Updating", CONFIG, PendingDeploymentSummary=other))
    with pytest.raises(DeploymentRefusedError, match="cannot be changed now"):
        put_endpoint(plan, sagemaker, no_pause)


def test_an_endpoint_that_never_came_up_is_replaced(
    sagemaker: SageMakerClient, stub: Stubber, plan: DeploymentPlan
) -> None:
    stub.add_response("describe_endpoint", endpoint("Failed", OLD))
    stub.add_response("delete_endpoint", {}, {"EndpointName": NAME})
    stub.add_response("describe_endpoint", endpoint("Deleting", OLD))
    stub.add_client_error("describe_endpoint", "ValidationException", GONE)
    stub.add_response("create_endpoint", {"EndpointArn": ARN})
    put_endpoint(plan, sagemaker, no_pause)


@pytest.mark.parametrize(
    ("status", "advice"),
    [("Updating", "Wait for the other deployment"), ("UpdateRollbackFailed", "delete the endpoint")],
)
def test_an_endpoint_that_cannot_be_changed_says_what_to_do(
    sagemaker: SageMakerClient, stub: Stubber, plan: DeploymentPlan, status: str, advice: str
) -> None:
    stub.add_response("describe_endpoint", endpoint(status, OLD, FailureReason="no capacity"))
    with pytest.raises(DeploymentRefusedError, match="cannot be changed now") as caught:
        put_endpoint(plan, sagemaker, no_pause)
    assert caught.value.cause == f"its state is {status} no capacity"
    assert advice in caught.value.next_step


def test_a_confirmed_endpoint_is_tagged_and_asked(
    sagemaker: SageMakerClient,
    stub: Stubber,
    runtime: SageMakerRuntimeClient,
    answers: Stubber,
    plan: DeploymentPlan,
) -> None:
    stub.add_response("describe_endpoint", endpoint("InService", CONFIG))
    stub.add_response("add_tags", {"Tags": []}, {"ResourceArn": ARN, "Tags": ANY})
    wanted = {"EndpointName": NAME, "ContentType": "application/json", "Body": '{"rows": [[1, 0]]}'}
    answers.add_response("invoke_endpoint", answer(GOOD), wanted)
    assert json.loads(confirm(plan, sagemaker, runtime)) == GOOD


@pytest.mark.parametrize(
    ("found", "what"),
    [
        (endpoint("InService", OLD, FailureReason="ping failed"), f"was rolled back and serves {OLD} again"),
        (endpoint("Failed", CONFIG, FailureReason="ping failed"), "is Failed"),
        (endpoint("UpdateRollbackFailed", CONFIG, FailureReason="ping failed"), "is UpdateRollbackFailed"),
    ],
)
def test_in_service_is_not_enough(
    sagemaker: SageMakerClient,
    stub: Stubber,
    runtime: SageMakerRuntimeClient,
    plan: DeploymentPlan,
    found: dict[str, Any],
    what: str,
) -> None:
    stub.add_response("describe_endpoint", found)
    with pytest.raises(RunFailedError, match=what) as caught:
        confirm(plan, sagemaker, runtime)
    assert caught.value.cause == "ping failed"
    assert caught.value.next_step


@pytest.mark.parametrize(
    "found",
    [
        endpoint("InService", OTHERS),
        endpoint("Updating", CONFIG, PendingDeploymentSummary={"EndpointConfigName": OTHERS}),
    ],
)
def test_a_deployment_that_was_overtaken_says_so_and_restores_nothing(
    sagemaker: SageMakerClient,
    stub: Stubber,
    runtime: SageMakerRuntimeClient,
    plan: DeploymentPlan,
    found: dict[str, Any],
) -> None:
    stub.add_response("describe_endpoint", found)
    with pytest.raises(RunFailedError, match="taken over by another deployment") as caught:
        confirm(plan, sagemaker, runtime)
    assert OTHERS in caught.value.cause


def test_production_goes_back_when_the_smoke_test_fails(
    sagemaker: SageMakerClient,
    stub: Stubber,
    runtime: SageMakerRuntimeClient,
    answers: Stubber,
    plan: DeploymentPlan,
) -> None:
    stub.add_response("describe_endpoint", endpoint("InService", CONFIG))
    for name in (OLD, CONFIG):
        stub.add_response("describe_endpoint_config", described(plan, name), {"EndpointConfigName": name})
    wanted = {"EndpointName": NAME, "EndpointConfigName": OLD, **kept(WEIGHT)}
    stub.add_response("update_endpoint", {"EndpointArn": ARN}, wanted)
    answers.add_response("invoke_endpoint", answer({"model": {"version": "0.0.1"}}))
    with pytest.raises(RunFailedError, match="answered by another model") as caught:
        confirm(plan, sagemaker, runtime)
    assert caught.value.next_step.startswith("The endpoint goes back to 1.2.0+retrain.0.")


@pytest.mark.parametrize(("code", "status"), [("ServiceUnavailable", 503), ("ThrottlingException", 400)])
def test_production_stays_when_the_endpoint_could_not_be_asked(  # pylint: disable=too-many-arguments
    sagemaker: SageMakerClient,
    stub: Stubber,
    runtime: SageMakerRuntimeClient,
    answers: Stubber,
    plan: DeploymentPlan,
    *,
    code: str,
    status: int,
) -> None:
    """Airflow tries the task again; nothing is known of the model."""
    stub.add_response("describe_endpoint", endpoint("InService", CONFIG))
    answers.add_client_error("invoke_endpoint", code, "Try your call again.", status)
    with pytest.raises(ClientError, match=code):
        confirm(plan, sagemaker, runtime)


def test_a_new_endpoint_that_fails_its_smoke_test_is_deleted(
    sagemaker: SageMakerClient,
    stub: Stubber,
    runtime: SageMakerRuntimeClient,
    answers: Stubber,
    plan: DeploymentPlan,
) -> None:
    stub.add_response("describe_endpoint", endpoint("InService", CONFIG))
    stub.add_response("delete_endpoint", {}, {"EndpointName": NAME})
    answers.add_client_error("invoke_endpoint", "ModelError", "Received server error (500)", 424)
    with pytest.raises(RunFailedError, match="The smoke test failed"):
        confirm(replace(plan, before=None), sagemaker, runtime)


@pytest.mark.parametrize(
    ("document", "what"),
    [
        (b"<html>", "not a JSON object with a `model`"),
        ([1], "not a JSON object with a `model`"),
        ({"model": "x"}, "not a JSON object with a `model`"),
        ({}, "answered by another model"),
    ],
)
def test_an_answer_that_does_not_name_its_model_fails(
    runtime: SageMakerRuntimeClient, answers: Stubber, deployment: DeploymentConf, document: object, what: str
) -> None:
    answers.add_response("invoke_endpoint", answer(document))
    with pytest.raises(RunFailedError, match=what) as caught:
        smoke_test(deployment, runtime)
    assert caught.value.next_step


def test_what_the_model_said_is_the_cause(
    runtime: SageMakerRuntimeClient, answers: Stubber, deployment: DeploymentConf
) -> None:
    details = {"OriginalStatusCode": 500, "OriginalMessage": "KeyError: 'rows'"}
    answers.add_client_error("invoke_endpoint", "ModelError", "Received 500", 424, modeled_fields=details)
    with pytest.raises(RunFailedError) as caught:
        smoke_test(deployment, runtime)
    assert caught.value.cause == "KeyError: 'rows'"


def test_other_settings_give_another_name_of_the_same_length_at_most(plan: DeploymentPlan) -> None:
    more = replace(plan.conf.deployment, instance_count=2)
    one, two = renamed(plan.endpoint_config), renamed(endpoint_config(CONFIG, more, []))
    assert one["EndpointConfigName"] != two["EndpointConfigName"]
    assert renamed(endpoint_config("a" * 63, more, []))["EndpointConfigName"].startswith("a" * 54 + "-")


CAPTURE = DataCapture(sampling_percent=50, destination="s3://ml-ops-test/web-safety/phishing-url/capture/")


def test_a_configuration_that_keeps_requests_is_another_one(plan: DeploymentPlan) -> None:
    keeping = endpoint_config(CONFIG, replace(plan.conf.deployment, data_capture=CAPTURE), [])
    assert keeping["DataCaptureConfig"]["InitialSamplingPercentage"] == 50
    assert keeping["DataCaptureConfig"]["DestinationS3Uri"] == CAPTURE.destination
    assert "DataCaptureConfig" not in plan.endpoint_config
    names = {renamed(one)["EndpointConfigName"] for one in (keeping, plan.endpoint_config)}
    assert len(names) == 2


@pytest.mark.parametrize("found_keeps", [True, False])
def test_one_that_keeps_no_requests_is_not_taken_for_one_that_does(
    sagemaker: SageMakerClient, stub: Stubber, plan: DeploymentPlan, found_keeps: bool
) -> None:
    wanted = replace(plan.conf, deployment=replace(plan.conf.deployment, data_capture=CAPTURE))
    asked, there = (plan.conf, wanted) if found_keeps else (wanted, plan.conf)
    found = endpoint_config(CONFIG, there.deployment, [])
    del found["Tags"]
    stub.add_response("describe_endpoint_config", found | {"EndpointConfigArn": ARN, "CreationTime": NOW})
    stub.add_client_error("describe_endpoint_config", "ValidationException", GONE)
    chosen, exists = tasks._choose_config(sagemaker, asked, CONFIG)
    assert (exists, chosen["EndpointConfigName"] != CONFIG) == (False, True)
    assert ("DataCaptureConfig" in chosen) is not found_keeps


@pytest.mark.parametrize(
    ("tag", "overtaken"),
    [
        ("2026-01-02T03:00:00+00:00", True),
        ("2026-01-02T02:00:00+00:00", True),  # told twice
        ("2026-01-02T01:00:00+00:00", False),
        ("2099-01-01T00:00:00Z", False),
        ("yesterday", False),
        ("", False),
    ],
)
def test_an_approval_gives_way_to_a_newer_decision_alone(
    sagemaker: SageMakerClient, stub: Stubber, deployment: DeploymentConf, tag: str, overtaken: bool
) -> None:
    stub.add_response("describe_endpoint", endpoint("InService", OLD))
    tags = [{"Key": tasks.DECIDED_AT, "Value": tag}]
    stub.add_response("list_tags", {"Tags": tags}, {"ResourceArn": ARN})
    approval = Approval(
        conf=deployment, package_arn="a", decided_at="2026-01-02T02:00:00.000+00:00", words="Approved by ann"
    )
    if not overtaken:
        tasks._check_still_wanted(approval, BEFORE, sagemaker)
        return
    with pytest.raises(OvertakenApproval, match="approve it anew") as caught:
        tasks._check_still_wanted(approval, BEFORE, sagemaker)
    assert caught.value.approval == approval


class BusyStorage:
    """S3 that answers no read."""

    def read_record(self, _kind: type, uri: str) -> Any:
        status = {"ResponseMetadata": {"HTTPStatusCode": 503}, "Error": {"Code": "SlowDown"}}
        raise StorageError(f"{uri} cannot be read") from ClientError(status, "GetObject")  # type: ignore[arg-type]


def test_evidence_that_cannot_be_read_now_is_no_verdict(deployment: DeploymentConf) -> None:
    """Airflow tries the task again: neither is what a merge request trained let through, nor an approval rejected."""
    busy: Any = BusyStorage()
    with pytest.raises(StorageError):
        check_merged(deployment, busy)
    with pytest.raises(StorageError):
        tasks.evidence_objections(deployment, busy, None, {})
