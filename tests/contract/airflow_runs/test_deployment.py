"""The DAG `model_deployment` in a real Airflow, with endpoints that really serve. In the order of a model's life."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from .conftest import TRAINING
from .stack import ENDPOINT, MODEL, Run, Stack
from .test_training import about, evidence

DEPLOYMENT = "model_deployment"


def deploy(stack: Stack, run_id: str, version: str, **more: Any) -> Run:
    return stack.run(DEPLOYMENT, run_id, stack.deployment_conf(version, **more))


def train(stack: Stack, run_id: str, version: str, **parameters: str) -> None:
    stack.trigger(TRAINING, run_id, stack.training_conf(version, **parameters))
    trained(stack, run_id)


def trained(stack: Stack, run_id: str) -> None:
    run = stack.wait(TRAINING, run_id)
    assert run.state == "success", run.tasks


def served(stack: Stack) -> dict[str, Any]:
    answer = stack.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=ENDPOINT, ContentType="application/json", Body=b"{}"
    )
    document: dict[str, Any] = json.loads(answer["Body"].read())
    return document


def endpoint_tags(stack: Stack) -> dict[str, str]:
    sagemaker = stack.client("sagemaker")
    arn = sagemaker.describe_endpoint(EndpointName=ENDPOINT)["EndpointArn"]
    return {tag["Key"]: tag["Value"] for tag in sagemaker.list_tags(ResourceArn=arn)["Tags"]}


def in_service(stack: Stack) -> dict[str, Any]:
    """The endpoint, once it is not changing."""
    for _ in range(200):
        endpoint: dict[str, Any] = stack.client("sagemaker").describe_endpoint(EndpointName=ENDPOINT)
        if endpoint["EndpointStatus"] == "InService":
            return endpoint
        time.sleep(0.1)
    raise AssertionError(endpoint)


def instances(stack: Stack) -> int:
    return int(in_service(stack)["ProductionVariants"][0]["DesiredInstanceCount"])


def test_an_evaluated_model_is_served(stack: Stack, trainings: dict[str, Run]) -> None:
    assert trainings["good"].state == "success"
    run = deploy(stack, "first", "1.0.0+retrain.0")
    assert run.state == "success", run.tasks
    assert served(stack)["model"]["version"] == "1.0.0+retrain.0"
    assert endpoint_tags(stack)["mlops:model-version"] == "1.0.0+retrain.0"
    told = [message for message in about(stack, "1.0.0+retrain.0") if "deployed" in message["subject"]]
    assert sorted(message["channel"] for message in told) == ["email", "slack"]
    assert all(ENDPOINT in message["text"] for message in told)


def test_a_deployed_endpoint_can_be_scaled(stack: Stack) -> None:
    """As a scaling policy does it; the tests below deploy and go back."""
    change = {"VariantName": "AllTraffic", "DesiredInstanceCount": 3}
    stack.client("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName=ENDPOINT, DesiredWeightsAndCapacities=[change]
    )
    assert instances(stack) == 3


def test_a_deployment_may_be_repeated(stack: Stack) -> None:
    run = deploy(stack, "again", "1.0.0+retrain.0")
    assert run.state == "success", run.tasks
    assert run.tasks["endpoint_config"] == "skipped"


def test_the_version_in_production_is_not_trained_over(stack: Stack) -> None:
    run = stack.run(TRAINING, "over", stack.training_conf("1.0.0+retrain.0", f1="0.1"))
    assert run.state == "failed"
    assert evidence(stack, "1.0.0+retrain.0", "comparison.json")["gate"] == "passed"
    assert any("is in production, so it is not trained again" in m["text"] for m in stack.inbox())


def test_an_improvement_is_compared_with_the_champion_and_replaces_it(stack: Stack) -> None:
    train(stack, "better", "1.1.0+retrain.0", f1="0.95")
    comparison = evidence(stack, "1.1.0+retrain.0", "comparison.json")
    assert (comparison["champion"], comparison["metrics"][0]["champion"]) == ("1.0.0+retrain.0", 0.9)
    run = deploy(stack, "second", "1.1.0+retrain.0")
    assert run.state == "success", run.tasks
    assert served(stack)["model"]["version"] == "1.1.0+retrain.0"
    assert instances(stack) == 3
    assert endpoint_tags(stack)["mlops:model-version"] == "1.1.0+retrain.0"


def test_a_failed_gate_is_refused_unless_a_person_overrides_it(stack: Stack) -> None:
    train(stack, "worse", "1.2.0+retrain.0", f1="0.6")
    refused = deploy(stack, "refused", "1.2.0+retrain.0")
    assert refused.state == "failed"
    failure = evidence(stack, "1.2.0+retrain.0", "failure.json")
    assert "gate failed: f1: 0.6 is 0.35 worse" in failure["cause"]
    assert "--override" in failure["next_step"]
    run = deploy(stack, "override", "1.2.0+retrain.0", override={"reason": "agreed with Ann", "user": "bob"})
    assert run.state == "success", run.tasks
    record = evidence(stack, "1.2.0+retrain.0", "override.json")
    assert (record["reason"], record["user"], record["dag_run_id"]) == ("agreed with Ann", "bob", "override")
    assert "gate failed" in record["objections"][0]
    assert evidence(stack, "1.2.0+retrain.0", "failure.json") is None
    told = [message for message in about(stack, "1.2.0+retrain.0") if "OVERRIDE" in message["subject"]]
    assert sorted(message["channel"] for message in told) == ["email", "slack"]
    assert all("Override by bob: agreed with Ann" in message["text"] for message in told)


def test_a_champion_that_changed_meanwhile_makes_a_comparison_worthless(
    stack: Stack, trainings: dict[str, Run]
) -> None:
    assert trainings["quiet"].state == "success"
    run = deploy(stack, "stale", "7.0.0+retrain.0")  # compared before anything was deployed
    assert run.state == "failed"
    failure = evidence(stack, "7.0.0+retrain.0", "failure.json")
    assert "the champion changed: compared with nothing, in production is 1.2.0+retrain.0" in failure["cause"]


@pytest.fixture(scope="module")
def unfit(stack: Stack) -> Stack:
    """Two models are trained, side by side, that nobody should be served."""
    confs = {
        "broken": stack.training_conf("1.3.0+retrain.0", f1="0.97", serve="crash"),
        "liar": stack.training_conf("1.4.0+retrain.0", f1="0.97", says="0.0.1"),
    }
    for run_id, conf in confs.items():
        stack.trigger(TRAINING, run_id, conf)
    for run_id in confs:
        trained(stack, run_id)
    return stack


def test_a_model_that_does_not_start_is_rolled_back_and_the_reason_told(unfit: Stack) -> None:
    stack = unfit
    run = deploy(stack, "rollback", "1.3.0+retrain.0")
    assert run.state == "failed"
    failure = evidence(stack, "1.3.0+retrain.0", "failure.json")
    assert "was rolled back and serves" in failure["cause"]
    assert failure["cause"].endswith("Last lines of its log:\nRuntimeError: no weights")
    assert instances(stack) == 3
    assert served(stack)["model"]["version"] == "1.2.0+retrain.0"


def test_a_model_that_answers_as_another_is_taken_back(unfit: Stack) -> None:
    stack = unfit
    run = deploy(stack, "lying", "1.4.0+retrain.0")
    assert run.state == "failed"
    failure = evidence(stack, "1.4.0+retrain.0", "failure.json")
    assert "answered by another model" in failure["cause"]
    assert "goes back to 1.2.0+retrain.0" in failure["next_step"]
    assert instances(stack) == 3
    assert served(stack)["model"]["version"] == "1.2.0+retrain.0"


def test_what_was_never_trained_is_refused(stack: Stack) -> None:
    run = deploy(stack, "unknown", "9.9.9+retrain.0", override={"reason": "please", "user": "bob"})
    assert run.state == "failed"
    assert any(
        f"There is no SageMaker model {ENDPOINT}--9-9-9--r0" in message["text"]
        and MODEL in message["subject"]
        for message in stack.inbox()
    )
