"""Requests and answers, without a network; what SageMaker sends is in the tests of the platform."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from penguins.artifact import Model
from penguins.columns import Row, inputs_of
from penguins.container import ModelError
from penguins.server import BODY_LIMIT, Application, serve

JSON = "application/json"
INPUTS = inputs_of("species")
GENTOO = {
    "island": "Biscoe",
    "bill_length_mm": 47.5,
    "bill_depth_mm": 15.0,
    "flipper_length_mm": 218,
    "body_mass_g": 4950,
    "sex": "female",
}
METADATA = {
    "name": "species",
    "version": "1.0.0+retrain.0",
    "training_data": {"uri": "s3://b/t/", "fingerprint": "f"},
}


def echo(_: Model, rows: list[Row]) -> list[dict[str, Any]]:
    return [dict(row) for row in rows]


def ask(
    body: str | bytes, kind: str = JSON, method: str = "POST", path: str = "/invocations", predict: Any = echo
) -> tuple[str, Any]:
    statuses: list[str] = []
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "CONTENT_TYPE": kind,
        "wsgi.input": io.BytesIO(body if isinstance(body, bytes) else body.encode()),
    }
    application = Application(Model(None, METADATA), INPUTS, predict)
    (answer,) = application(environ, lambda status, _: statuses.append(status))
    return statuses[0], json.loads(answer)


def test_json_and_csv_get_the_same_answer() -> None:
    status, answer = ask(json.dumps({"instances": [GENTOO, GENTOO]}))
    line = ",".join(str(GENTOO[name]) for name in INPUTS)
    assert (status, answer) == ask(f"{line}\n{line}", "text/csv; charset=utf-8")
    assert (status, answer["predictions"]) == ("200 OK", [GENTOO, GENTOO])


def test_every_answer_names_the_model_and_its_data() -> None:
    for method, path in (("GET", "/ping"), ("GET", "/"), ("POST", "/invocations")):
        assert ask("", method=method, path=path)[1]["model"] == METADATA


@pytest.mark.parametrize(
    ("body", "kind", "status", "message"),
    [
        ("{", JSON, "400", "no valid JSON"),
        ("[" * 100_000, JSON, "400", "no valid JSON"),
        ("[]", JSON, "400", "the body must be"),
        ('{"instances": 1}', JSON, "400", "must be a list of objects"),
        ('{"instances": []}', JSON, "400", "no penguin"),
        ('{"instances": [{}]}', JSON, "400", "instances[0]: column 'island' is missing"),
        (b"\xff\xfe", JSON, "400", "no UTF-8"),
        ("", "text/csv", "400", "no penguin"),
        ("1,2", "text/csv", "400", "line 1 has 2 values; it must have 6"),
        ("{}", "text/plain", "415", "application/json or text/csv"),
        (b" " * (BODY_LIMIT + 1), JSON, "413", "larger than"),
    ],
)
def test_a_wrong_request_gets_a_clear_answer(body: str | bytes, kind: str, status: str, message: str) -> None:
    found, answer = ask(body, kind)
    assert found.startswith(status)
    assert message in answer["error"]


def test_other_paths_and_methods() -> None:
    assert ask("", method="GET", path="/")[0] == "404 Not Found"
    assert ask("", method="GET")[0] == "405 Method Not Allowed"


def test_our_own_mistake_shows_no_traceback() -> None:
    def broken(*_: object) -> list[dict[str, Any]]:
        raise ZeroDivisionError("secret")

    status, answer = ask(json.dumps({"instances": [GENTOO]}), predict=broken)
    assert status == "500 Internal Server Error"
    assert answer["error"] == "internal error; see the endpoint's log"


def test_a_port_that_is_none_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_BIND_TO_PORT", "http")
    with pytest.raises(ModelError, match="must be a port number"):
        serve(Application(Model(None, METADATA), INPUTS, echo))
