"""Credentials that do not work are one error, whichever way the SDK finds out."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from mlops.clients import aws
from mlops.errors import AuthenticationError, SettingsError


@pytest.fixture(autouse=True)
def _fresh_session(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    _forget()
    yield
    _forget()


def _forget() -> None:
    aws._client.cache_clear()
    aws._session.cache_clear()


@pytest.fixture
def expired(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An AWS that takes every token for an old one."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = b'{"__type":"ExpiredTokenException","message":"The security token is expired"}'
            self.send_response(400)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    thread.join()
    server.server_close()


def test_no_credentials() -> None:
    with pytest.raises(AuthenticationError, match="no AWS credentials") as caught:
        aws.client("s3")
    assert "aws sso login" in caught.value.next_step


def test_no_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with pytest.raises(SettingsError, match="region"):
        aws.client("ssm")


def test_half_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    with pytest.raises(AuthenticationError, match="does not accept") as caught:
        aws.client("s3")
    assert "Partial credentials" in caught.value.cause


@pytest.mark.usefixtures("expired")
def test_an_expired_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with pytest.raises(AuthenticationError, match="does not accept") as caught:
        aws.client("ssm").get_parameter(Name="/ml-ops/settings")
    assert "ExpiredTokenException: The security token is expired" in caught.value.cause


def test_one_client_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    assert aws.client("ssm") is aws.client("ssm")
