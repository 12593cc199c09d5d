"""E-mail of SNS topics: moto knows the subscription and sends nothing.

On AWS a person confirms an e-mail subscription with a click; here it counts as confirmed.
"""

from __future__ import annotations

from typing import Any

from mlops.local.aws.inbox import Inbox


def deliver_to(inbox: Inbox) -> None:
    """Let what is published to e-mail subscriptions arrive in this inbox.

    moto has no place to plug this in, so the one method that delivers to a subscriber is wrapped; filter
    policies and per-protocol messages stay moto's.
    """
    from moto.sns.models import Subscription

    original = getattr(Subscription.publish, "of_moto", Subscription.publish)

    def publish(self: Any, message: str, message_id: str, *arguments: Any, **options: Any) -> None:
        original(self, message, message_id, *arguments, **options)
        if self.protocol not in ("email", "email-json"):
            return
        matcher = self._filter_policy_matcher  # pylint: disable=protected-access
        if matcher is not None and not matcher.matches(options.get("message_attributes"), message):
            return
        if options.get("message_structure") == "json":
            message = self._parse_message_structure(message, "email")  # pylint: disable=protected-access
        subject = options.get("subject") or "AWS Notification Message"
        inbox.deliver("email", self.endpoint, subject, message, topic=self.topic_arn)

    publish.of_moto = original  # type: ignore[attr-defined]
    Subscription.publish = publish  # type: ignore[method-assign]
