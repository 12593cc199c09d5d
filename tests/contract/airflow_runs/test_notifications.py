"""Who hears what, in a real Airflow: each model in its own channel, each failure once."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from mlops.clients.slack import Slack, webhook
from mlops.contracts.runs import NOTICE_DAG, TRAINING_DAG, Origin
from mlops.notifications.messages import channel_test

from .stack import MODEL, PROJECT, Stack

FRAUD = "services/T000/fraud"


@pytest.fixture(scope="module")
def fraud(stack: Stack) -> Stack:
    """The stack, with a second channel."""
    sns, ssm = stack.client("sns"), stack.client("ssm")
    topic = sns.create_topic(Name="ml-ops-notifications-fraud")["TopicArn"]
    secret = {"conn_type": "slackwebhook", "host": f"{stack.aws}/slack", "password": f"{FRAUD}/local"}
    name = "airflow/connections/slack_fraud"
    stack.client("secretsmanager").create_secret(Name=name, SecretString=json.dumps(secret))
    settings = json.loads(ssm.get_parameter(Name="/ml-ops/settings")["Parameter"]["Value"])
    settings["channels"] = {"fraud": {"topic_arn": topic, "slack_secret": name}}
    ssm.put_parameter(Name="/ml-ops/settings", Type="String", Value=json.dumps(settings), Overwrite=True)
    return stack


def told(stack: Stack, words: str) -> list[str]:
    """Where in Slack a message with these words arrived."""
    return [one["to"] for one in stack.inbox() if one["channel"] == "slack" and words in one["text"]]


def notice(cause: str, model: str = "unheard-of") -> dict[str, Any]:
    return {
        "schema_version": 1,
        "project": PROJECT,
        "model": model,
        "what": f"Endpoint web-safety--{model} is RollingBack",
        "cause": cause,
        "log_url": "https://console.example/endpoint",
        "next_step": "Deploy the model again.",
        "occurrence": {
            "id": "1",
            "source": "aws.sagemaker",
            "detail_type": "SageMaker Endpoint State Change",
            "time": "2026-01-02T03:04:05Z",
        },
    }


def test_a_failure_that_only_an_event_knows_of_is_told_once(stack: Stack) -> None:
    for number in (1, 2):
        stack.trigger(NOTICE_DAG, f"notice-{number}", notice(f"no capacity at 10:0{number}"))
    first, second = (stack.wait(NOTICE_DAG, f"notice-{number}") for number in (1, 2))
    assert (first.state, second.state) == ("success", "success")
    assert len(told(stack, "Endpoint web-safety--unheard-of is RollingBack")) == 1
    (email,) = [one for one in stack.inbox() if one["channel"] == "email" and "unheard-of" in one["subject"]]
    for fact in ("no capacity", "https://console.example/endpoint", "Deploy the model again."):
        assert fact in email["text"]


def test_a_failure_of_every_night_is_told_once_in_the_models_channel(fraud: Stack) -> None:
    version = "6.1.0+retrain.3"
    conf = fraud.training_conf(version, f1="0.9", do="crash")
    conf |= {"notifications": {"channel": "fraud"}, "origin": {"pipeline_source": "schedule"}}
    for night in (1, 2):
        assert fraud.run(TRAINING_DAG, f"night-{night}", conf).state == "failed"
    assert told(fraud, f"{MODEL} {version}: model_training FAILED at train") == [FRAUD]


@pytest.mark.parametrize("fault", [429, 500])
def test_slack_that_is_busy_or_stumbles_is_asked_again_in_the_same_task(stack: Stack, fault: int) -> None:
    stack.faults({"status": fault, "count": 2, "retry_after": 1})
    run = stack.run(NOTICE_DAG, f"slack-{fault}", notice("no capacity", f"slack-{fault}"))
    assert (run.state, run.tasks["notify_slack"]) == ("success", "success")
    assert len(told(stack, f"Endpoint web-safety--slack-{fault} is RollingBack")) == 1
    path = f"/dags/{NOTICE_DAG}/dagRuns/slack-{fault}/taskInstances/notify_slack"
    assert stack.call("GET", path)[1]["try_number"] == 1


def test_slack_is_asked_again_when_it_said(stack: Stack) -> None:
    stack.faults({"status": 429, "count": 2, "retry_after": 1})
    began = time.monotonic()
    Slack(webhook(stack.client("secretsmanager"), "airflow/connections/slack")).send(
        channel_test(Origin(project_path="slow/slack"))
    )
    assert time.monotonic() - began >= 2
    assert len(told(stack, "slow/slack")) == 1
