"""SNS: who subscribed to a topic and has not confirmed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops.base.errors import AwsError

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient


def pending(sns: SNSClient, topic_arn: str) -> list[str]:
    """The e-mail addresses whose owners did not confirm; none when the topic is gone.

    Raises:
        AwsError: when SNS does not list them; its cause is SNS's error code.
    """
    from botocore.exceptions import ClientError

    try:
        pages = sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic_arn)
        found = [one for page in pages for one in page["Subscriptions"]]
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in ("NotFound", "NotFoundException"):
            return []
        raise AwsError(
            f"SNS does not list the subscriptions to {topic_arn}",
            cause=code,
            next_step="Grant this role sns:ListSubscriptionsByTopic.",
        ) from error
    return [
        one["Endpoint"]
        for one in found
        if one.get("Protocol", "").startswith("email") and one.get("SubscriptionArn") == "PendingConfirmation"
    ]
