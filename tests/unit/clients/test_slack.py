"""Slack's webhook against a real, small HTTP server that answers as Slack does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import boto3
import pytest
from botocore.stub import Stubber

from mlops.base.errors import NotificationError
from mlops.clients.slack import Slack, webhook
from mlops.contracts.runs import Origin
from mlops.notifications.messages import channel_test

PASSWORD = "services/T000/B000/very-secret"
MESSAGE = channel_test(Origin(project_path="group/phishing"))


@dataclass
class SlackServer:
    """Answers with `answers` one after the other, then with 200 ok; keeps what it was sent."""

    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    received: list[dict[str, object]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server() -> Iterator[SlackServer]:
    state = SlackServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            state.received.append(json.loads(self.rfile.read(length)))
            state.paths.append(self.path)
            status, headers = state.answers.pop(0) if state.answers else (200, {})
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"ok" if status == 200 else b"no_service")

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    state.url = f"http://127.0.0.1:{http.server_port}/slack/{PASSWORD}"
    yield state
    http.shutdown()
    http.server_close()


def test_a_message_arrives_with_blocks_and_a_plain_text(server: SlackServer) -> None:
    Slack(server.url).send(MESSAGE)
    assert server.paths == [f"/slack/{PASSWORD}"]
    assert server.received[0]["text"] == MESSAGE.subject
    assert server.received[0]["blocks"] == list(MESSAGE.blocks)


def test_a_429_is_waited_out_as_slack_asks(server: SlackServer) -> None:
    server.answers = [(429, {"Retry-After": "1"})]
    started = time.monotonic()
    Slack(server.url).send(MESSAGE)
    assert time.monotonic() - started >= 1
    assert len(server.received) == 2


@pytest.mark.parametrize("asked", ["3600", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_429_that_asks_for_too_much_is_an_error_at_once(server: SlackServer, asked: str) -> None:
    server.answers = [(429, {"Retry-After": asked})]
    with pytest.raises(NotificationError) as caught:
        Slack(server.url).send(MESSAGE)
    assert "HTTP 429" in caught.value.cause
    assert len(server.received) == 1


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_server_error_is_tried_again(server: SlackServer, status: int) -> None:
    server.answers = [(status, {}), (status, {})]
    Slack(server.url, retry_seconds=0.01).send(MESSAGE)
    assert len(server.received) == 3


def test_a_server_error_that_stays_names_slack_and_not_the_webhook(server: SlackServer) -> None:
    server.answers = [(500, {})] * 10
    with pytest.raises(NotificationError, match="Slack") as caught:
        Slack(server.url, retry_seconds=0.01).send(MESSAGE)
    assert len(server.received) == 3
    assert "HTTP 500: no_service" in caught.value.cause
    assert "secret" not in str(caught.value)


def test_a_refusal_is_not_repeated(server: SlackServer) -> None:
    server.answers = [(404, {})]
    with pytest.raises(NotificationError, match="Slack") as caught:
        Slack(server.url).send(MESSAGE)
    assert "no_service" in caught.value.cause
    assert len(server.received) == 1


def test_a_server_that_is_not_there(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NotificationError) as caught:
        Slack(f"http://127.0.0.1:9/{PASSWORD}", retry_seconds=0.01).send(MESSAGE)
    assert "refused" in caught.value.cause
    assert "secret" not in str(caught.value) + capfd.readouterr().err


def _webhook(secret: str) -> str:
    client = boto3.client(
        "secretsmanager", region_name="eu-west-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    with Stubber(client) as stub:
        stub.add_response(
            "get_secret_value", {"SecretString": secret}, {"SecretId": "airflow/connections/slack"}
        )
        return webhook(client, "airflow/connections/slack")


@pytest.mark.parametrize("host", ["https://hooks.slack.com", "https://hooks.slack.com/"])
def test_the_webhook_is_the_one_of_airflows_connection(host: str) -> None:
    secret = {"conn_type": "slackwebhook", "host": host, "password": PASSWORD}
    assert _webhook(json.dumps(secret)) == f"https://hooks.slack.com/{PASSWORD}"


def test_white_space_around_the_webhook_is_none_of_it() -> None:
    secret = {"host": "https://hooks.slack.com\n", "password": f" {PASSWORD}\n"}
    assert _webhook(json.dumps(secret)) == f"https://hooks.slack.com/{PASSWORD}"


@pytest.mark.parametrize(
    "secret",
    [
        "very-secret",
        '"very-secret"',
        "[]",
        '{"password": "very-secret"}',
        '{"host": "ftp://very-secret", "password": "very-secret"}',
        '{"host": "https://hooks.slack.com", "password": 1}',
        '{"host": "https://hooks.slack.com", "password": ""}',
        '{"host": "https://hooks.slack.com", "password": "services/very-secret and more"}',
        '{"host": "https://hooks.slack.com", "password": "services/\\nvery-secret"}',
        '{"host": "https://hooks.slack.com", "password": "services/very-secret\u00e9"}',
    ],
)
def test_a_secret_that_is_no_connection_says_what_belongs_there_and_not_what_it_is(secret: str) -> None:
    with pytest.raises(NotificationError, match="not set up") as caught:
        _webhook(secret)
    assert "very-secret" not in str(caught.value)
    assert "airflow/connections/slack" in caught.value.next_step


def test_a_secret_without_a_value_says_what_belongs_there() -> None:
    client = boto3.client(
        "secretsmanager", region_name="eu-west-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    with Stubber(client) as stub:
        stub.add_client_error("get_secret_value", "ResourceNotFoundException", "no value")
        with pytest.raises(NotificationError, match="not set up") as caught:
            webhook(client, "airflow/connections/slack")
    assert "ResourceNotFoundException" in caught.value.cause
