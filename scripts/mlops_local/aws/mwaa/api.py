"""MWAA's API in front of a real Airflow: environments for Terraform, InvokeRestApi for the Lambda.

InvokeRestApi behaves as the service: Airflow's 4xx and 5xx both arrive as HTTP 400 errors that carry
Airflow's own status, paths have at most 64 characters, and there is no answer after ten seconds
(https://docs.aws.amazon.com/mwaa/latest/userguide/access-mwaa-apache-airflow-rest-api.html).
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener
from urllib.request import Request as UrlRequest

from werkzeug.wrappers import Request, Response

from mlops_local.airflow import environment
from mlops_local.aws import shapes
from mlops_local.aws.mwaa.dags import DagFolder
from mlops_local.aws.mwaa.environments import Environments, Parameters
from mlops_local.base.config import LocalAwsConfig
from mlops_local.base.wire import JSON, ServiceError, error_response, json_response

if TYPE_CHECKING:
    from mlops_local.aws.sdk import Sdk

_REST_SECONDS = 10.0


class Mwaa:
    """The environments of one account; all of them are the one Airflow there is."""

    def __init__(self, config: LocalAwsConfig, sdk: Sdk) -> None:
        self._airflow = Airflow(config.airflow_url, config.airflow_passwords)
        self._rate = _Rate()
        self._environments = Environments(config, sdk)
        self.keep, self.restore = self._environments.keep, self._environments.restore
        self._dags = (
            DagFolder(config.dags_folder, sdk, self._environments.running) if config.dags_folder else None
        )
        self._routes = list(_routes())
        self._operations: dict[str, Callable[[Parameters], Parameters]] = {
            "CreateEnvironment": self._environments.create,
            "GetEnvironment": lambda wanted: {"Environment": self._environments.get(wanted["Name"])},
            "UpdateEnvironment": self._environments.update,
            "DeleteEnvironment": self._environments.delete,
            "ListEnvironments": lambda _: {"Environments": self._environments.names()},
            "ListTagsForResource": self._environments.tags,
            "TagResource": self._environments.tag,
            "UntagResource": self._environments.untag,
            "InvokeRestApi": self._invoke_rest_api,
        }

    def close(self) -> None:
        """Stop what goes on by itself."""
        if self._dags is not None:
            self._dags.close()

    def limit(self, calls_per_second: float | None) -> None:
        """Refuse InvokeRestApi above this rate, as MWAA does at about 10; None for no limit."""
        self._rate.calls_per_second = calls_per_second

    def execution_role(self) -> str:
        """The ARN of the role Airflow works with; empty while there is no environment."""
        return self._environments.execution_role()

    def handle(self, request: Request) -> Response:
        """Answer one API call."""
        try:
            operation, found = self._match(request)
            model = shapes.service_model("mwaa").operation_model(operation)
            parameters = shapes.read(model.input_shape, _document(request, model.input_shape, found))
            answer = self._operations[operation](parameters)
            return json_response(shapes.write(model.output_shape, answer))
        except ServiceError as error:
            return error_response(error, JSON)

    def _match(self, request: Request) -> tuple[str, dict[str, str]]:
        for operation, method, pattern in self._routes:
            match = pattern.fullmatch(request.path)
            if match and method == request.method and operation in self._operations:
                return operation, match.groupdict()
        raise ServiceError(
            "UnknownOperationException", f"{request.method} {request.path} is not supported", status=404
        )

    def _invoke_rest_api(self, wanted: Parameters) -> Parameters:
        self._environments.get(wanted["Name"])
        if not self._rate.takes_one():
            raise ServiceError("ThrottlingException", "Rate exceeded")
        status, answer = self._airflow.call(
            wanted["Method"], wanted["Path"], wanted.get("QueryParameters"), wanted.get("Body")
        )
        members = {"RestApiStatusCode": status, "RestApiResponse": answer}
        if status >= 400:
            kind = "RestApiClientException" if status < 500 else "RestApiServerException"
            raise ServiceError(kind, f"Airflow answered {status}", members=members)
        return members


class _Rate:
    """A bucket of calls that fills at a rate, and holds what one second brings."""

    def __init__(self) -> None:
        self.calls_per_second: float | None = None
        self._lock = threading.Lock()
        self._left = 0.0
        self._looked = 0.0

    def takes_one(self) -> bool:
        """Whether one more call is within the rate."""
        rate = self.calls_per_second
        if rate is None:
            return True
        with self._lock:
            now = time.monotonic()
            self._left = min(rate, self._left + (now - self._looked) * rate)
            self._looked = now
            if self._left < 1:
                return False
            self._left -= 1
            return True


class Airflow:
    """Airflow's REST API, as an administrator."""

    def __init__(self, url: str, passwords: Path) -> None:
        self._url = url
        self._passwords = passwords
        self._lock = threading.Lock()
        self._token = ""
        # the stack's own traffic never goes through a proxy of the person who started it
        self._open = build_opener(ProxyHandler({})).open

    def call(self, method: str, path: str, query: Any, body: Any) -> tuple[int, Any]:
        """Status and document of one call; 503 and 504 when Airflow cannot be reached or takes too long."""
        url = f"{self._url}/api/v2{path}"
        if query:
            url += "?" + urlencode({key: _query_value(value) for key, value in query.items()}, doseq=True)
        data = None if body is None else json.dumps(body).encode()
        try:
            token = self._login(self._token)
            status, answer = self._send(method, url, data, token)
            if status == 401:  # it has expired, or Airflow has started anew
                status, answer = self._send(method, url, data, self._login("" if token else token, token))
        except TimeoutError:
            return 504, {"detail": f"Airflow did not answer within {_REST_SECONDS:.0f} seconds"}
        except (URLError, OSError) as error:
            return 503, {"detail": f"Airflow cannot be reached: {error}"}
        return status, answer

    def _login(self, known: str, expired: str = "") -> str:
        with self._lock:
            if known:
                return known
            if self._token and self._token != expired:
                return self._token
            self._token = environment.log_in(self._url, self._passwords, _REST_SECONDS)
            return self._token

    def _send(self, method: str, url: str, data: bytes | None, token: str) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = UrlRequest(url, data, headers, method=method)  # noqa: S310  # a URL of our own Airflow
        try:
            with self._open(request, timeout=_REST_SECONDS) as answer:
                return answer.status, _parsed(answer.read())
        except HTTPError as error:
            return error.code, _parsed(error.read())


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text.decode(errors="replace")


def _query_value(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _routes() -> Iterator[tuple[str, str, re.Pattern[str]]]:
    """Operation, HTTP method and path of everything the API has."""
    model = shapes.service_model("mwaa")
    for name in list(model.operation_names):
        http = model.operation_model(name).http
        path = re.sub(r"\{(\w+)\}", _path_parameter, http["requestUri"])
        yield name, http["method"], re.compile(path)


def _path_parameter(match: re.Match[str]) -> str:
    # an ARN holds a slash, which arrives here decoded
    return f"(?P<{match[1]}>{'.+' if match[1].endswith('Arn') else '[^/]+'})"


def _document(request: Request, shape: Any, found: dict[str, str]) -> dict[str, Any]:
    """A request's members from its body, path and query."""
    try:
        document = json.loads(request.get_data() or b"{}")
    except ValueError as error:
        raise ServiceError("SerializationException", f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ServiceError("SerializationException", "the body is not a JSON object")
    for name, member in shape.members.items():
        key = member.serialization.get("name", name)
        if member.serialization.get("location") == "uri":
            document[name] = found[key]
        elif member.serialization.get("location") == "querystring" and key in request.args:
            values = request.args.getlist(key)
            document[name] = values if member.type_name == "list" else _scalar(member, values[0])
    return document


def _scalar(shape: Any, text: str) -> Any:
    return int(text) if shape.type_name == "integer" and text.lstrip("-").isdecimal() else text
