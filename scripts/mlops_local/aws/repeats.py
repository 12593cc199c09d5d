"""Calls that arrive twice: SDKs call again when an answer is late. AWS knows such a call by its token.

The answer to a token that was there before is the answer it got, whether that had arrived or not; moto would
make a second resource, or say that there is one already. Of the services that Terraform's modules use, these
take tokens:
https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html,
https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html,
https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
"""

from __future__ import annotations

import io
import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from werkzeug.wrappers import Request, Response

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# The name of the token in each service's requests.
_TOKENS = {"ec2": "ClientToken", "scheduler": "ClientToken", "secretsmanager": "ClientRequestToken"}
# AWS knows them for hours; a stack makes some hundreds.
_REMEMBERED = 4096

Key = tuple[str, ...]


@dataclass
class _Call:
    """The first call with a token."""

    body: bytes
    lock: threading.Lock = field(default_factory=threading.Lock)
    answer: Response | None = None


class Repeats:
    """The client tokens of one account."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: OrderedDict[Key, _Call] = OrderedDict()

    def answer(
        self, request: Request, environ: WSGIEnvironment, service: str, carry_out: Callable[[], Response]
    ) -> Response | None:
        """The answer to a call with a client token, which `carry_out` gives once; None for any other call."""
        if service not in _TOKENS:
            return None
        body = request.get_data()
        environ["wsgi.input"] = io.BytesIO(body)  # `carry_out` reads it anew
        key = _key(request, service, body)
        if key is None:
            return None
        with self._lock:
            call = self._calls.setdefault(key, _Call(body))
            while len(self._calls) > _REMEMBERED:
                self._calls.popitem(last=False)
        if call.body != body:
            return _mismatch() if service == "ec2" else None
        with call.lock:  # a repeated call waits for the first
            if call.answer is None:
                answer = carry_out()
                if answer.status_code >= 400:
                    return answer  # a call that failed has done nothing, and may be tried again
                call.answer = answer
            first = call.answer
        return Response(first.get_data(), first.status_code, first.headers)


def _key(request: Request, service: str, body: bytes) -> Key | None:
    """Which token of which operation; None without a token."""
    operation: list[str]
    if service == "ec2":
        form = parse_qs(body.decode(errors="replace"))
        token = form.get(_TOKENS[service], [""])[0]
        operation = form.get("Action", [""])
    else:
        try:
            document = json.loads(body or b"{}")
        except ValueError:
            return None
        token = str(document.get(_TOKENS[service]) or "") if isinstance(document, dict) else ""
        token = token or request.args.get("clientToken", "")  # of a DELETE
        operation = [request.method, request.path, request.headers.get("X-Amz-Target", "")]
    return (service, token, *operation) if token else None


def _mismatch() -> Response:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"""
    return Response(
        "<Response><Errors><Error><Code>IdempotentParameterMismatch</Code>"
        "<Message>The client token was used before with other parameters.</Message>"
        "</Error></Errors></Response>",
        status=400,
        content_type="text/xml",
    )
