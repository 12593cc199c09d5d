"""SNS through botocore's own parsing."""

from __future__ import annotations

import boto3
import pytest
from botocore.stub import Stubber

from mlops.base.errors import NotificationError
from mlops.clients.aws.email import Email
from mlops.contracts.runs import Origin
from mlops.notifications.messages import channel_test

TOPIC = "arn:aws:sns:eu-west-1:123456789012:ml-ops-notifications"
MESSAGE = channel_test(Origin(project_path="group/phishing"))


def test_a_message_is_published_and_a_refusal_names_the_channel() -> None:
    client = boto3.client("sns", region_name="eu-west-1", aws_access_key_id="t", aws_secret_access_key="t")
    with Stubber(client) as stub:
        stub.add_response(
            "publish",
            {"MessageId": "1"},
            {"TopicArn": TOPIC, "Subject": MESSAGE.subject, "Message": MESSAGE.body},
        )
        Email(client, TOPIC).send(MESSAGE)
        stub.assert_no_pending_responses()
        stub.add_client_error("publish", "NotFound", "Topic does not exist", 404)
        with pytest.raises(NotificationError, match="e-mail") as caught:
            Email(client, TOPIC).send(MESSAGE)
    assert "Topic does not exist" in caught.value.cause
    assert TOPIC in caught.value.next_step
