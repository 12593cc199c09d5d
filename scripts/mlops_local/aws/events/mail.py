"""E-mail of SNS topics: moto knows the subscription and sends nothing.

As on AWS, a new subscription is pending and gets no messages until its person confirms. The link is in no
message here: `confirm` is the click of everybody who was asked.
https://docs.aws.amazon.com/sns/latest/dg/sns-email-notifications.html
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import cache
from typing import Any

from mlops_local.aws.events.inbox import Inbox

_PROTOCOLS = ("email", "email-json")


def deliver_to(inbox: Inbox) -> None:
    """Let what is published to e-mail subscriptions arrive in this inbox.

    moto has no place to plug this in, so the one method that delivers to a subscriber is wrapped; filter
    policies and per-protocol messages stay moto's.
    """
    from moto.sns.models import Subscription

    _leave_new_ones_pending()
    original = getattr(Subscription.publish, "of_moto", Subscription.publish)

    def publish(self: Any, message: str, message_id: str, *arguments: Any, **options: Any) -> None:
        original(self, message, message_id, *arguments, **options)
        if self.protocol not in _PROTOCOLS or _is_pending(self):
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


def confirm(account: str, region: str) -> list[str]:
    """Confirm every pending subscription; the addresses."""
    from moto.sns.models import sns_backends

    pending = [one for one in sns_backends[account][region].subscriptions.values() if _is_pending(one)]
    for subscription in pending:
        subscription.attributes["PendingConfirmation"] = False
    return [str(subscription.endpoint) for subscription in pending]


@cache
def _leave_new_ones_pending() -> None:
    from moto.sns.models import SNSBackend

    original: Callable[..., Any] = SNSBackend.subscribe

    def subscribe(self: SNSBackend, topic_arn: str, endpoint: str, protocol: str) -> Any:
        before = len(self.subscriptions)
        made = original(self, topic_arn, endpoint, protocol)
        if protocol in _PROTOCOLS and len(self.subscriptions) > before:
            made.attributes["PendingConfirmation"] = True
        return made

    SNSBackend.subscribe = subscribe  # type: ignore[method-assign]
    for name in ("list_subscriptions", "list_subscriptions_by_topic"):
        setattr(SNSBackend, name, _naming_no_pending(getattr(SNSBackend, name)))


def _naming_no_pending(original: Callable[..., Any]) -> Callable[..., Any]:
    """A listing in which pending subscriptions have no ARN yet, but say so in its place."""

    def listing(self: Any, *arguments: Any, **options: Any) -> tuple[list[Any], Any]:
        found, token = original(self, *arguments, **options)
        return [_unnamed(one) if _is_pending(one) else one for one in found], token

    return listing


def _unnamed(subscription: Any) -> Any:
    shown = copy(subscription)
    shown.arn = "PendingConfirmation"
    return shown


def _is_pending(subscription: Any) -> bool:
    return bool(subscription.attributes.get("PendingConfirmation"))
