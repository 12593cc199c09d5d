"""E-mail of topics and Slack's webhook end in one inbox."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

import pytest

from .harness import LocalAws, wait_for

WEBHOOK = "/slack/services/T000/B000/local"


@pytest.fixture
def topic(aws: LocalAws, request: pytest.FixtureRequest) -> Iterator[Any]:
    sns = aws.client("sns")
    arn = sns.create_topic(Name=request.node.name[:60])["TopicArn"]
    yield sns, arn
    sns.delete_topic(TopicArn=arn)


def mail(aws: LocalAws, to: str) -> list[dict[str, Any]]:
    return [one for one in aws.get("/_mlops/inbox") if (one["channel"], one["to"]) == ("email", to)]


def test_what_a_topic_publishes_arrives_as_e_mail(aws: LocalAws, topic: Any) -> None:
    sns, arn = topic
    sns.subscribe(TopicArn=arn, Protocol="email", Endpoint="ann@example.com")
    aws.post("/_mlops/subscriptions/confirm", {})
    sns.publish(TopicArn=arn, Subject="Training failed", Message="because\nof this")
    sns.publish(TopicArn=arn, Message="no subject")
    first, second = mail(aws, "ann@example.com")
    assert (first["subject"], first["text"], first["topic"]) == ("Training failed", "because\nof this", arn)
    assert second["subject"] == "AWS Notification Message"
    lines = (aws.home / "inbox.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == aws.get("/_mlops/inbox")


def test_who_has_not_confirmed_gets_nothing(aws: LocalAws, topic: Any) -> None:
    # https://docs.aws.amazon.com/sns/latest/api/API_ListSubscriptionsByTopic.html
    sns, arn = topic
    made = sns.subscribe(
        TopicArn=arn, Protocol="email", Endpoint="eve@example.com", ReturnSubscriptionArn=True
    )
    sns.publish(TopicArn=arn, Message="too early")
    (listed,) = sns.list_subscriptions_by_topic(TopicArn=arn)["Subscriptions"]
    assert listed["SubscriptionArn"] == "PendingConfirmation"
    attributes = sns.get_subscription_attributes(SubscriptionArn=made["SubscriptionArn"])["Attributes"]
    assert attributes["PendingConfirmation"] == "true"

    assert json.loads(aws.post("/_mlops/subscriptions/confirm", {})) == ["eve@example.com"]
    sns.publish(TopicArn=arn, Message="in time")
    (listed,) = sns.list_subscriptions_by_topic(TopicArn=arn)["Subscriptions"]
    assert listed["SubscriptionArn"] == made["SubscriptionArn"]
    assert [one["text"] for one in mail(aws, "eve@example.com")] == ["in time"]


def test_e_mail_honours_filters_and_its_own_text(aws: LocalAws, topic: Any) -> None:
    sns, arn = topic
    sns.subscribe(
        TopicArn=arn,
        Protocol="email",
        Endpoint="bob@example.com",
        Attributes={"FilterPolicy": json.dumps({"model": ["phishing-url"]})},
    )
    aws.post("/_mlops/subscriptions/confirm", {})
    for model in ("other", "phishing-url"):
        sns.publish(
            TopicArn=arn,
            MessageStructure="json",
            Message=json.dumps({"default": "short", "email": f"long, of {model}"}),
            MessageAttributes={"model": {"DataType": "String", "StringValue": model}},
        )
    assert [one["text"] for one in mail(aws, "bob@example.com")] == ["long, of phishing-url"]


def test_other_subscriptions_are_still_moto_s(aws: LocalAws, topic: Any) -> None:
    sns, arn = topic
    sqs = aws.client("sqs")
    queue = sqs.create_queue(QueueName="subscribed")["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue_arn)
    sns.publish(TopicArn=arn, Message="to the queue")
    received = wait_for(lambda: sqs.receive_message(QueueUrl=queue).get("Messages"))
    assert json.loads(received[0]["Body"])["Message"] == "to the queue"


def test_slack_takes_text_and_blocks(aws: LocalAws) -> None:
    blocks = [
        {"type": "header", "text": {"type": "plain_text", "text": "Gate failed"}},
        {"type": "section", "fields": [{"type": "mrkdwn", "text": "*recall* 0.7"}]},
        {"type": "context", "elements": [{"type": "mrkdwn", "text": "pipeline 7"}]},
        {"type": "actions", "elements": [{"type": "button", "text": {"type": "plain_text", "text": "Open"}}]},
        {"type": "divider"},
    ]
    assert aws.post(WEBHOOK, {"text": "Model refused", "blocks": blocks}) == "ok"
    message = aws.get("/_mlops/inbox")[-1]
    assert (message["channel"], message["subject"]) == ("slack", "Model refused")
    for text in ("Gate failed", "*recall* 0.7", "pipeline 7", "Open"):
        assert text in message["text"]
    assert "local" not in message["to"]


@pytest.mark.parametrize(
    ("path", "document", "status", "answer"),
    [
        (WEBHOOK, {}, 400, "no_text"),
        (WEBHOOK, ["text"], 400, "invalid_payload"),
        (WEBHOOK, {"text": "x", "blocks": [{"type": "divider"}] * 51}, 400, "invalid_blocks"),
        (
            WEBHOOK,
            {"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}}]},
            400,
            "invalid_blocks",
        ),
        ("/slack/elsewhere", {"text": "x"}, 404, "no_service"),
    ],
)
def test_slack_refuses_what_slack_refuses(
    aws: LocalAws, path: str, document: object, status: int, answer: str
) -> None:
    before = len(aws.get("/_mlops/inbox"))
    with pytest.raises(HTTPError) as caught:
        aws.post(path, document)
    assert (caught.value.code, caught.value.read().decode()) == (status, answer)
    assert len(aws.get("/_mlops/inbox")) == before


def test_slack_has_bad_days_on_demand(aws: LocalAws) -> None:
    aws.post("/_mlops/slack/faults", {"status": 429, "count": 2, "retry_after": 7})
    for _ in range(2):
        with pytest.raises(HTTPError) as caught:
            aws.post(WEBHOOK, {"text": "x"})
        assert (caught.value.code, caught.value.headers["Retry-After"]) == (429, "7")
    aws.post("/_mlops/slack/faults", {"status": 500})
    with pytest.raises(HTTPError) as caught:
        aws.post(WEBHOOK, {"text": "x"})
    assert caught.value.code == 500
    assert aws.post(WEBHOOK, {"text": "recovered"}) == "ok"
    with pytest.raises(HTTPError) as caught:
        aws.post("/_mlops/slack/faults", {"status": "often"})
    assert caught.value.code == 400
