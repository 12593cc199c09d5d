"""The real server in a process of its own, asked over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from phishing_url import artifact
from phishing_url.container import ModelError, Paths
from phishing_url.features import Site
from phishing_url.serve import BODY_LIMIT, Application, serve

REPOSITORY = Path(__file__).parent.parent
JSON = "application/json"


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen[bytes]
    port: int

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)

    def wait(self) -> None:
        """Until it answers /ping; a server that ends before is left to the test to find out."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.ask(method="GET", path="/ping")
                return
            except OSError:
                time.sleep(0.05)

    def ask(
        self, body: bytes | str = b"", kind: str = JSON, *, method: str = "POST", path: str = "/invocations"
    ) -> tuple[int, Any]:
        connection = self.connect()
        connection.request(method, path, body, {"Content-Type": kind})
        response = connection.getresponse()
        status, answer = response.status, json.loads(response.read())
        connection.close()
        return status, answer


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def running(base: Path, port: int) -> Iterator[Server]:
    """A server that is told to load `base` and is gone in the end."""
    environment = {**os.environ, "SAGEMAKER_BASE_DIR": str(base), "SAGEMAKER_BIND_TO_PORT": str(port)}
    environment.pop("MLOPS_BIND_HOST", None)
    command = [sys.executable, "-m", "phishing_url", "serve"]
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment) as process:
        try:
            yield Server(process, port)
        finally:
            process.kill()


@pytest.fixture(name="server", scope="module")
def fixture_server(trained: Paths) -> Iterator[Server]:
    with running(trained.base, free_port()) as server:
        server.wait()
        yield server


@pytest.fixture(name="own_signals")
def fixture_own_signals() -> Iterator[None]:
    """`serve` in this process takes the test run's signals; give them back."""
    taken = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in taken.items():
        signal.signal(number, handler)


def test_ping(server: Server) -> None:
    status, answer = server.ask(method="GET", path="/ping")
    assert (status, answer["model"]["version"]) == (200, "1.0.0+retrain.0")


def test_json_and_csv_get_the_same_answer(server: Server, sites: list[Site]) -> None:
    status, answer = server.ask(json.dumps({"instances": sites[:5]}))
    lines = "\n".join(",".join(map(str, site.values())) for site in sites[:5])
    assert (status, answer) == server.ask(lines, "text/csv; charset=utf-8")
    assert status == 200
    assert len(answer["predictions"]) == 5


def test_the_answer_names_the_model_and_its_data(server: Server, sites: list[Site], trained: Paths) -> None:
    _, answer = server.ask(json.dumps({"instances": sites[:1]}))
    assert answer["model"] == {
        "name": "phishing-url",
        "version": "1.0.0+retrain.0",
        "training_data": {"uri": "s3://bucket/data/train/", "fingerprint": "f00d"},
    }
    (expected,) = artifact.load(trained.model).probabilities(sites[:1])
    (prediction,) = answer["predictions"]
    assert prediction["probability"] == pytest.approx(expected, abs=1e-6)
    assert prediction["label"] == ("phishing" if expected >= 0.5 else "legitimate")


@pytest.mark.parametrize(
    ("body", "kind", "status", "message"),
    [
        ("{", JSON, 400, "no valid JSON"),
        ("[" * 100_000, JSON, 400, "no valid JSON"),
        ("[]", JSON, 400, "the body must be"),
        ('{"instances": 1}', JSON, 400, "must be a list of objects"),
        ('{"instances": []}', JSON, 400, "no website"),
        ('{"instances": [{}]}', JSON, 400, "instances[0]: feature 'empty_server_form_handler' is missing"),
        ('{"instances": [{"htps": 1}]}', JSON, 400, "did you mean 'https'?"),
        (b"\xff\xfe", JSON, 400, "no UTF-8"),
        ("", "text/csv", 400, "no website"),
        ("1,2", "text/csv", 400, "line 1 has 2 values"),
        ("0,0,0,0,0,0,0,0,7", "text/csv", 400, "line 1: 'ip_in_url' is '7'"),
        ("{}", "text/plain", 415, "application/json or text/csv"),
        (b" " * (BODY_LIMIT + 1), JSON, 413, "larger than"),
    ],
)
def test_a_wrong_request_gets_a_clear_answer(
    server: Server, body: str | bytes, kind: str, status: int, message: str
) -> None:
    found, answer = server.ask(body, kind)
    assert found == status
    assert message in answer["error"]
    assert answer["model"]["version"] == "1.0.0+retrain.0"


def test_other_paths_and_methods(server: Server) -> None:
    assert server.ask(method="GET", path="/")[0] == 404
    assert server.ask(method="GET", path="/invocations")[0] == 405


def test_our_own_mistake_shows_no_traceback() -> None:
    data = {"uri": "", "fingerprint": ""}
    broken = artifact.Model(None, {"name": "x", "version": "1", "training_data": data})
    statuses = []
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/invocations", "CONTENT_TYPE": JSON}
    (body,) = Application(broken)(environ, lambda status, _: statuses.append(status))
    assert statuses == ["500 Internal Server Error"]
    assert json.loads(body)["error"].startswith("internal error")


@pytest.mark.usefixtures("own_signals")
def test_a_server_without_a_model_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no model in"):
        serve(Paths(tmp_path))


@pytest.mark.usefixtures("own_signals")
def test_a_port_that_is_taken_is_an_error(trained: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("SAGEMAKER_BIND_TO_PORT", str(taken.getsockname()[1]))
        monkeypatch.delenv("MLOPS_BIND_HOST", raising=False)
        with pytest.raises(ModelError, match=r"Cannot listen on 127\.0\.0\.1:"):
            serve(trained)


# The last one: it ends the server that all share, for each start imports scikit-learn anew.
def test_sigterm_lets_the_request_in_hand_finish(server: Server, sites: list[Site]) -> None:
    body = json.dumps({"instances": sites[:1]}).encode()
    connection = server.connect()
    connection.putrequest("POST", "/invocations")
    connection.putheader("Content-Type", JSON)
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:10])
    time.sleep(0.3)
    server.process.terminate()
    time.sleep(0.3)
    connection.send(body[10:])
    assert connection.getresponse().status == 200
    connection.close()
    assert server.process.wait(timeout=30) == 0
