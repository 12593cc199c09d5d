"""Credentials that do not work are one error, whichever way the SDK finds out."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore import exceptions
from botocore.exceptions import ClientError

from mlops.base.errors import AuthenticationError, AwsError, SettingsError
from mlops.cli import main
from mlops.clients.aws import session


@pytest.fixture(autouse=True)
def _fresh_session(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    _forget()
    yield
    _forget()


def _forget() -> None:
    session._client.cache_clear()
    session._session.cache_clear()


@pytest.fixture
def expired(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An AWS that takes every token for an old one."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = self.rfile.read(int(self.headers["Content-Length"]))
            body = b'{"__type":"ExpiredTokenException","message":"The security token is expired"}'
            if b"Action=AssumeRole" in request:  # STS speaks XML
                body = (
                    b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>Not authorized</Message>"
                    b"</Error><RequestId>1</RequestId></ErrorResponse>"
                )
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
        session.client("s3")
    assert "aws sso login" in caught.value.next_step


def test_no_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with pytest.raises(SettingsError, match="region"):
        session.client("ssm")


def test_half_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    with pytest.raises(AuthenticationError, match="does not accept") as caught:
        session.client("s3")
    assert "Partial credentials" in caught.value.cause


@pytest.mark.usefixtures("expired")
def test_an_expired_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with pytest.raises(AuthenticationError, match="does not accept") as caught:
        session.client("ssm").get_parameter(Name="/ml-ops/settings")
    assert "ExpiredTokenException: The security token is expired" in caught.value.cause


@pytest.mark.usefixtures("expired")
def test_a_role_that_cannot_be_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in a job whose OIDC token the role's trust policy does not name."""
    token = tmp_path / "token"
    token.write_text("header.claims.signature", encoding="utf-8")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/ci")
    with pytest.raises(AuthenticationError, match="role/ci: its token's claim sub does not match") as caught:
        session.client("ssm")
    assert "AccessDenied: Not authorized" in caught.value.cause
    assert "docs/operate/permissions.md" in caught.value.next_step


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--image-uri", f"registry/a@sha256:{'0' * 64}", "--image-version", "1.0.0"],
        ["evaluate", "--model-version", "1.0.0+retrain.0"],
        ["deploy", "--model-version", "1.0.0+retrain.0"],
        ["notify"],
    ],
)
def test_an_aws_out_of_reach_is_no_unexpected_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setattr(time, "sleep", lambda _: None)  # the SDK's own pauses
    manifest = Path(__file__).parents[3] / "examples" / "phishing-url" / "mlops.yml"
    assert main([*words, "--manifest", str(manifest)]) == AwsError.exit_code
    assert "AWS could not be reached" in capsys.readouterr().err


def test_one_client_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    assert session.client("ssm") is session.client("ssm")


def _answered(code: str, status: int) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Describe")  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (_answered("ServiceUnavailableException", 503), True),
        (_answered("InternalFailure", 500), True),
        (_answered("ThrottlingException", 400), True),
        (_answered("TooManyRequests", 429), True),
        (exceptions.ConnectionClosedError(endpoint_url="u"), True),
        (exceptions.EndpointConnectionError(endpoint_url="u"), True),
        (exceptions.ReadTimeoutError(endpoint_url="u"), True),
        (exceptions.MetadataRetrievalError(error_msg="m"), True),
        (_answered("AccessDeniedException", 400), False),
        (_answered("ValidationException", 400), False),
        (_answered("ResourceLimitExceeded", 400), False),
        (_answered("ModelError", 424), False),
        (exceptions.NoRegionError(), False),
        (KeyError("x"), False),
        (None, False),
    ],
    ids=str,
)
def test_what_says_nothing_of_what_was_asked_about(error: BaseException | None, *, passes: bool) -> None:
    ours = AwsError("AWS could not be reached")
    ours.__cause__ = error
    assert (session.passing(error), session.passing(ours)) == (passes, passes)
