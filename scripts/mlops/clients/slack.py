"""Slack, through an incoming webhook.

https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/

The webhook's URL is a secret: it appears in no message, error or log.
"""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, Any

from mlops.base.errors import NotificationError
from mlops.contracts.message import Message

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from slack_sdk.http_retry import RetryHandler

_TIMEOUT = 10
# Slack asks for seconds, as a rule; a CI job does not wait longer than this for one message.
_LONGEST_WAIT = 60


class Slack:
    """One channel of Slack. `retry_seconds` is the first pause after a server error; it doubles."""

    name = "Slack"

    def __init__(self, url: str, retry_seconds: float = 1.0) -> None:
        self._url = url
        self._retry_seconds = retry_seconds

    def send(self, message: Message) -> None:
        """Post the message; a 429 is waited out as Slack asks, a 5xx is tried three times.

        Raises:
            NotificationError: with Slack's own word, such as `no_service` or `invalid_blocks`.
        """
        from slack_sdk.webhook import WebhookClient

        quiet = logging.getLogger("mlops.slack")  # the SDK would log on its own, at debug level with the URL
        quiet.addHandler(logging.NullHandler())
        quiet.propagate = False
        quiet.setLevel(logging.ERROR)
        client = WebhookClient(
            self._url, timeout=_TIMEOUT, logger=quiet, retry_handlers=_retries(self._retry_seconds)
        )
        try:
            answer = client.send(text=message.subject, blocks=list(message.blocks))
        except Exception as error:  # the SDK lets whatever urllib and http.client raise through
            raise _refused(f"{type(error).__name__}: {error}".replace(self._url, "<webhook>")) from None
        if answer.status_code != 200:
            raise _refused(f"HTTP {answer.status_code}: {answer.body[:200]}".replace(self._url, "<webhook>"))


def webhook(secrets: SecretsManagerClient, secret_id: str) -> str:
    """The webhook's URL, from the secret that Airflow reads as its connection.

    Raises:
        NotificationError: when the secret is missing, empty or no such connection; never with its content.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    example = {"conn_type": "slackwebhook", "host": "https://hooks.slack.com", "password": "services/..."}
    step = f"Put the webhook into the secret {secret_id}: {json.dumps(example)}"
    try:
        text = secrets.get_secret_value(SecretId=secret_id)["SecretString"]
    except (ClientError, BotoCoreError) as error:
        raise NotificationError("Slack is not set up", cause=str(error), next_step=step) from error
    except KeyError as error:
        raise NotificationError(
            "Slack is not set up", cause="the secret is binary", next_step=step
        ) from error
    try:
        secret = json.loads(text)
    except ValueError:
        secret = None  # whatever it is, it must not become part of a message
    host, password = (secret.get("host"), secret.get("password")) if isinstance(secret, dict) else ("", "")
    if not isinstance(host, str) or not isinstance(password, str) or not host or not password:
        raise NotificationError(
            "Slack is not set up",
            cause="the secret is not a connection with host and password",
            next_step=step,
        )
    if not host.startswith(("https://", "http://")):
        raise NotificationError("Slack is not set up", cause="the secret's host is not a URL", next_step=step)
    url = f"{host.strip().rstrip('/')}/{password.strip().lstrip('/')}"
    # What opens it would name the rest of it in its error.
    if not re.fullmatch(r"[!-~]+", url):
        raise NotificationError(
            "Slack is not set up", cause="the secret holds a character that no URL has", next_step=step
        )
    return url


def _refused(cause: str) -> NotificationError:
    return NotificationError(
        "Slack did not take the message",
        cause=cause,
        next_step="Check the webhook in Slack's app settings with mlops notify --test.",
    )


def _retries(first_pause: float) -> list[RetryHandler]:
    from slack_sdk.http_retry import (
        ConnectionErrorRetryHandler,
        RateLimitErrorRetryHandler,
        RetryIntervalCalculator,
    )
    from slack_sdk.http_retry.builtin_handlers import ServerErrorRetryHandler

    class Doubling(RetryIntervalCalculator):
        def calculate_sleep_duration(self, current_attempt: int) -> float:
            return float(first_pause * 2**current_attempt)

    class RateLimit(RateLimitErrorRetryHandler):
        """The SDK's, but it neither waits for hours nor trips over a date where a number belongs."""

        def _can_retry(self, *, response: Any = None, **_: Any) -> bool:
            if response is None or response.status_code != 429:
                return False
            asked = next(
                (value[0] for name, value in response.headers.items() if name.lower() == "retry-after"), "1"
            )
            return asked.isdecimal() and int(asked) <= _LONGEST_WAIT

    class ServerError(ServerErrorRetryHandler):
        """The SDK's, for gateways too."""

        def _can_retry(self, *, response: Any = None, **_: Any) -> bool:
            return response is not None and response.status_code >= 500

    pauses = Doubling()
    return [
        RateLimit(max_retry_count=3),
        ServerError(max_retry_count=2, interval_calculator=pauses),
        ConnectionErrorRetryHandler(max_retry_count=2, interval_calculator=pauses),
    ]
