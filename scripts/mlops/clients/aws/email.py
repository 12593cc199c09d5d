"""E-mail, through the platform's SNS topic: https://docs.aws.amazon.com/sns/latest/api/API_Publish.html"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops.base.errors import NotificationError
from mlops.contracts.message import Message

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient


class Email:
    """All subscribers of the topic."""

    name = "e-mail"

    def __init__(self, sns: SNSClient, topic_arn: str) -> None:
        self._sns = sns
        self._topic_arn = topic_arn

    def send(self, message: Message) -> None:
        """Publish the message.

        Raises:
            NotificationError: when SNS does not take it.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._sns.publish(TopicArn=self._topic_arn, Subject=message.subject, Message=message.body)
        except (ClientError, BotoCoreError) as error:
            raise NotificationError(
                "SNS did not take the e-mail",
                cause=str(error),
                next_step=f"Check the topic {self._topic_arn} and that the job's role may publish to it.",
            ) from error
