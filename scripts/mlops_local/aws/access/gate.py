"""Every AWS call on its way in: noted, and refused if the caller's role does not allow it.

`<home>/calls.jsonl`, one line an action:

    {"at": "2026-01-31T12:00:00.123Z", "role": "ml-ops-train" | null, "session": ...,
     "action": "s3:GetObject", "resource": "arn:..." | null, "through": "" | "s3", "allowed": true | null}

`through` names the service that acted on the caller's behalf; `allowed` is null for callers that have no role
here, such as the person who started the stack.
"""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from werkzeug.wrappers import Request, Response

from mlops_local.aws import services
from mlops_local.aws.access import keys, policies
from mlops_local.aws.access.calls import AccountRegion, Call, SignedRequest, read
from mlops_local.aws.access.principals import Principal, Principals
from mlops_local.base.config import LocalAwsConfig
from mlops_local.base.wire import ServiceError, error_response

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# A day of polling makes some 20 MB; older lines go to a second file, and those before them.
_FILE_BYTES = 32 * 1024 * 1024
# Larger requests carry code or data; what they are about is in their path.
_BODY_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class PassedRole:
    """A call that hands a role to its service, and what the service says when it cannot take that."""

    call: tuple[str, str]
    """The service and the HTTP method."""
    path: str
    """A pattern of the URL's path."""
    role: Callable[[Mapping[str, Any]], str]
    """The role's ARN in the request; empty if there is none."""
    code: str
    message: str


_PASSED = (
    # moto says so of a role that is missing (moto/awslambda/models.py).
    PassedRole(
        call=("lambda", "POST"),
        path=r"/2015-03-31/functions/?",
        role=lambda asked: str(asked.get("Role", "")),
        code="InvalidParameterValueException",
        message="The role defined for the function cannot be assumed by Lambda.",
    ),
    # https://github.com/aws/aws-sdk-js-v3/issues/6494
    PassedRole(
        call=("scheduler", "POST"),
        path=r"/schedules/[^/]+",
        role=lambda asked: str((asked.get("Target") or {}).get("RoleArn", "")),
        code="ValidationException",
        message="The execution role you provide must allow AWS EventBridge Scheduler to assume the role.",
    ),
)


# Services of ours, which are in one region; moto's have each region apart, as AWS has.
_OURS = ("sagemaker", "airflow")
_WRONG_REGION = (
    "The local account is in {}, and this request is for {}: look at AWS_REGION and AWS_DEFAULT_REGION."
)


class Gate:
    """The one way in for calls of AWS's APIs."""

    def __init__(self, config: LocalAwsConfig, principals: Principals) -> None:
        self._principals = principals
        self._place = AccountRegion(config.region, config.account)
        self._enforce = config.enforce
        self._log = _Log(config.home / "calls.jsonl")

    def pass_or_refuse(self, request: Request, environ: WSGIEnvironment, service: str) -> Response | None:
        """Note a request that is signed for a service; the refusal where its caller may not.

        A key that the account does not know is refused before anything is noted.
        """
        key = _access_key(request.headers.get("Authorization", ""))
        if not self._principals.know(key):
            return _unknown_key(service, request.headers.get("X-Amz-Target", ""))
        signed = SignedRequest(
            service=service,
            method=request.method,
            path=request.path,
            query=request.query_string.decode("latin-1"),
            target=request.headers.get("X-Amz-Target", ""),
            body=_body(request, environ) if service != "s3" else b"",
            copied=request.headers.get("X-Amz-Copy-Source", ""),
        )
        region = _region(request.headers["Authorization"])
        if service in _OURS and region != self._place.region:
            message = _WRONG_REGION.format(self._place.region, region)
            return _error(service, signed.target, "ValidationException", message, status=400)
        if unplayed := services.refused(service, signed.target, signed.query, signed.body):
            return _not_played(service, signed.target, unplayed)
        principal = self._principals.whose(key)
        untrusted = self._untrusted(signed, principal) if service == "sts" else self._passed(signed)
        if untrusted is not None:
            return untrusted
        denied = self.denied(principal, read(signed, self._place))
        if denied is None or principal is None:
            return None
        why = _why(*(self._principals.policies(principal.role) or ([], [])), denied)
        return _refusal(service, signed.target, denied, self._principals.arn(principal), why)

    def _untrusted(self, request: SignedRequest, principal: Principal | None) -> Response | None:
        """The refusal of a role that is not there, or whose trust policy does not admit the caller."""
        asked = dict(parse_qsl(request.body.decode(errors="replace")))
        role = asked.get("RoleArn", "")
        if asked.get("Action") != "AssumeRole" or self._principals.may_assume(role, principal):
            return None
        call = Call("sts:AssumeRole", (role,))
        self._log.write(principal, call, False)
        return _refusal("sts", request.target, call, self._principals.arn(principal), "")

    def _passed(self, request: SignedRequest) -> Response | None:
        """The refusal of a role that is not there, or that its service may not take."""
        for passed in _PASSED:
            if (request.service, request.method) != passed.call or not re.fullmatch(
                passed.path, request.path
            ):
                continue
            role = passed.role(json.loads(request.body or b"{}"))
            if role and not self._principals.trusted(role, f"{request.service}.amazonaws.com"):
                return _error(request.service, request.target, passed.code, passed.message, status=400)
        return None

    def denied(self, principal: Principal | None, calls: Iterable[Call]) -> Call | None:
        """Note calls; the first that the principal's role does not allow, where this account enforces it."""
        # A session of a role that is gone may do nothing. A caller without a role is the administrator.
        found = (self._principals.policies(principal.role) or ([], [])) if principal else None
        first = None
        for call in calls:
            for one in (call, *(keys.needed(call, self._place) if found else ())):
                allowed = _allowed(*found, one) if found else None
                self._log.write(principal, one, allowed)
                if allowed is False and first is None:
                    first = one
        return first if self._enforce else None

    def close(self) -> None:
        """Write what is left."""
        self._log.close()


class _Log:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._open = file.open("a", encoding="utf-8")

    def write(self, principal: Principal | None, call: Call, allowed: bool | None) -> None:
        """Append one line."""
        now = datetime.now(UTC)
        line = json.dumps(
            {
                "at": f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z",
                "role": principal.role if principal else None,
                "session": principal.session if principal else None,
                "action": call.action,
                "resource": call.resources[0] if call.resources else None,
                "through": call.through,
                "allowed": allowed,
            }
        )
        with self._lock:
            if self._open.closed:
                return
            self._open.write(line + "\n")
            self._open.flush()
            if self._open.tell() > _FILE_BYTES:
                self._open.close()
                self._file.replace(self._file.with_name(self._file.name + ".1"))
                self._open = self._file.open("a", encoding="utf-8")

    def close(self) -> None:
        with self._lock:
            self._open.close()


def _allowed(own: list[Mapping[str, Any]], bounds: list[Mapping[str, Any]], call: Call) -> bool:
    # https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html: needs no permission
    if call.action == "sts:GetCallerIdentity":
        return True
    sets = [own, bounds] if bounds else [own]
    return all(policies.allows(one, call.action, call.resources, call.context) for one in sets)


def _region(authorization: str) -> str:
    return (authorization.partition("Credential=")[2].split("/") + [""] * 3)[2]


def _access_key(authorization: str) -> str:
    return authorization.partition("Credential=")[2].partition("/")[0]


def _body(request: Request, environ: WSGIEnvironment) -> bytes:
    """The body, which the answering service reads anew."""
    if (request.content_length or 0) > _BODY_BYTES:
        return b""
    body = request.get_data()
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def _not_played(service: str, target: str, call: str) -> Response:
    """A 400, which no SDK repeats, in the form the service answers in."""
    code = "UnknownOperationException" if _speaks_json(service, target) else "InvalidAction"
    message = f"{call} is not played locally. docs/reference/local-aws.md lists what is played."
    return _error(service, target, code, message, status=400)


def _why(own: list[Mapping[str, Any]], bounds: list[Mapping[str, Any]], call: Call) -> str:
    """The end of IAM's sentence.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
    """
    for kind, documents in (("identity-based policy", own), ("permissions boundary", bounds)):
        if policies.denies_outright(documents, call.action, call.resources, call.context):
            article = "an" if kind.startswith("i") else "a"
            return f" with an explicit deny in {article} {kind}"
    if policies.allows(own, call.action, call.resources, call.context):
        return f" because no permissions boundary allows the {call.action} action"
    return f" because no identity-based policy allows the {call.action} action"


def _refusal(service: str, target: str, call: Call, caller: str, why: str) -> Response:
    """As IAM words it, in the form the service answers in."""
    resource = f" on resource: {call.resources[0]}" if call.resources else ""
    message = f"User: {caller} is not authorized to perform: {call.action}{resource}{why}"
    code = "AccessDenied" if service in ("s3", "sts", "iam", "sns", "ec2") else "AccessDeniedException"
    return _error(service, target, code, message)


def _unknown_key(service: str, target: str) -> Response:
    """As each kind of API words it.

    https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList,
    https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html
    """
    if service == "s3":
        message = "The AWS Access Key Id you provided does not exist in our records."
        return _error(service, target, "InvalidAccessKeyId", message)
    code = "UnrecognizedClientException" if _speaks_json(service, target) else "InvalidClientTokenId"
    return _error(service, target, code, "The security token included in the request is invalid.")


def unsigned(target: str) -> Response:
    """The answer to a request that needs a signature and has none: S3's, or that of an API with JSON."""
    if target:
        return _error("", target, "MissingAuthenticationTokenException", "Missing Authentication Token")
    return _error("s3", "", "AccessDenied", "Access Denied")


def _speaks_json(service: str, target: str) -> bool:
    return bool(target) or service in ("lambda", "airflow", "sagemaker", "scheduler")


def _error(service: str, target: str, code: str, message: str, status: int = 403) -> Response:
    """In the form the service answers in."""
    if _speaks_json(service, target):
        return error_response(
            ServiceError(code, message, status=400 if target else status), "application/json"
        )
    inner = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    text = inner if service == "s3" else f"<ErrorResponse>{inner}</ErrorResponse>"
    return Response(f'<?xml version="1.0" encoding="UTF-8"?>{text}', status=status, content_type="text/xml")
