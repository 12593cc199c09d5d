"""The local AWS as one WSGI application: who answers which request.

A request's SigV4 signature names its service and its caller. SageMaker, MWAA and parts of ECR are ours,
everything else is moto's. What is not signed for AWS is the registry (/v2/), Slack (/slack/), ourselves
(/_mlops/) or a job that takes a role with its token; the rest without a signature is refused, presigned URLs
too.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from werkzeug.wrappers import Request, Response

from mlops_local.aws import account
from mlops_local.aws.access.gate import Gate, unsigned
from mlops_local.aws.account import Service, Traffic
from mlops_local.aws.events import mail
from mlops_local.aws.events.inbox import Inbox, SlackInbox
from mlops_local.aws.repeats import Repeats
from mlops_local.base import snapshots
from mlops_local.base.children import Children
from mlops_local.base.config import MWAA_HOSTS, LocalAwsConfig
from mlops_local.base.loopback import OwnPagesOnly
from mlops_local.base.snapshots import Snapshot
from mlops_local.base.wire import ServiceError, error_response, json_response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["LocalAws", "LocalAwsConfig", "create_app"]

_LOG = logging.getLogger(__name__)
# For a moment between two requests, in which an account can be written.
_STILL_SECONDS = 30.0
_SERVICE = re.compile(r"AWS4-HMAC-SHA256 Credential=[^/]+/\d{8}/[^/]*/(?P<service>[^/]+)/aws4_request")


class LocalAws:
    """One account in one region. Close it to end every process and container it started."""

    def __init__(self, config: LocalAwsConfig) -> None:
        from mlops_local import engines
        from mlops_local.aws.access.principals import Principals
        from mlops_local.aws.access.web_identity import WebIdentity
        from mlops_local.aws.ecr import Ecr
        from mlops_local.aws.events import event_bus
        from mlops_local.aws.mwaa.api import Mwaa
        from mlops_local.aws.sagemaker.service import SageMaker
        from mlops_local.aws.sdk import Sdk
        from mlops_local.registry.api import LocalRegistry

        self.config = config
        self._traffic = Traffic()
        self._repeats = Repeats()
        config.home.mkdir(parents=True, exist_ok=True)
        self._moto = _moto(config)
        self._children = Children()
        self._inbox = Inbox(config.home / "inbox.jsonl")
        self._slack = SlackInbox(self._inbox)
        self._registry = LocalRegistry(config)
        self._ecr = Ecr(config, self._registry, self._moto)
        self._engine = engines.create(config, self._registry, self._children)
        self._principals = Principals(config)
        self._gate = Gate(config, self._principals)
        self._sdk = Sdk(config, self._principals)
        self._sagemaker = SageMaker(config, self._sdk, self._engine, self._registry)
        self._web_identity = WebIdentity(config)
        self._mwaa = Mwaa(config, self._sdk)
        self._principals.airflow_role = self._airflow_role
        self._bus = event_bus.start(config, self._children, self._principals, self._gate)
        self._sagemaker.publish = lambda kind, arn, detail: self._bus.publish(
            "aws.sagemaker", kind, detail, arn
        )
        self._pages: dict[tuple[str, str], Callable[[Request], Response]] = {
            ("GET", "/_mlops/health"): lambda _: json_response(
                {"status": "ok", "snapshot": self.snapshot.key if self.snapshot else ""}
            ),
            ("GET", "/_mlops/inbox"): lambda _: json_response(self._inbox.messages()),
            ("GET", "/_mlops/logs"): self._log,
            ("POST", "/_mlops/subscriptions/confirm"): lambda _: json_response(
                mail.confirm(config.account, config.region)
            ),
            ("POST", "/_mlops/slack/faults"): self._slack.set_faults,
            ("POST", "/_mlops/events/fire"): self._bus.fire_page,
            ("POST", "/_mlops/events/delivery"): self._bus.delivery_page,
            ("POST", "/_mlops/mwaa/limit"): self._limit_mwaa,
        }
        mail.deliver_to(self._inbox)
        self._services: dict[str, Service] = {"sagemaker": self._sagemaker, "mwaa": self._mwaa}
        self.snapshot = self._begin_with(config.snapshot)
        """The snapshot this account began with; None if it began empty."""
        self._guarded = OwnPagesOnly(self._serve, config.port, MWAA_HOSTS)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self._guarded(environ, start_response)

    def _serve(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if (environ["REQUEST_METHOD"], environ["PATH_INFO"]) == ("POST", "/_mlops/account"):
            return self._write()(environ, start_response)
        with self._traffic.request():
            return self._serve_one(environ, start_response)

    def _serve_one(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            answer = self._answer(Request(environ), environ)
            if answer is None:
                return self._moto(environ, start_response)
        except Exception:  # pylint: disable=broad-exception-caught  # the server must go on
            _LOG.exception("%s %s failed", environ.get("REQUEST_METHOD"), environ.get("PATH_INFO"))
            answer = error_response(
                ServiceError("InternalFailure", "The local AWS failed; its log says why.", status=500),
                "application/json",
            )
        return answer(environ, start_response)

    def close(self) -> None:
        """End every process and container this account started."""
        self._mwaa.close()
        self._children.close()
        self._engine.close()
        self._gate.close()

    def _answer(self, request: Request, environ: WSGIEnvironment) -> Response | None:
        """Our answer, or None where moto is to give one."""
        signature = _SERVICE.match(request.headers.get("Authorization", ""))
        if signature is None:
            return self._unsigned(request, environ)
        refusal = self._gate.pass_or_refuse(request, environ, signature["service"])
        if refusal is not None:
            return refusal
        if signature["service"] == "ecr":
            return self._ecr.handle(request, environ)
        if signature["service"] == "airflow":
            return self._mwaa.handle(request)
        if signature["service"] == "sagemaker":
            return self._sagemaker.handle(request)
        return self._repeats.answer(
            request,
            environ,
            signature["service"],
            lambda: Response.from_app(self._moto, environ, buffered=True),
        )

    def _unsigned(self, request: Request, environ: WSGIEnvironment) -> Response | None:
        path = request.path
        if path == "/v2" or path.startswith("/v2/"):
            return self._registry.handle(request)
        if path.startswith("/slack/"):
            return self._slack.webhook(request)
        if path.startswith("/_mlops/"):
            return self._own(request)
        if self._web_identity.is_asked(request):
            return self._web_identity.handle(request, environ)
        return unsigned(request.headers.get("X-Amz-Target", ""))

    def _own(self, request: Request) -> Response:
        """The pages about the stack itself."""
        page = self._pages.get((request.method, request.path))
        return page(request) if page else json_response({"error": "there is no such page"}, status=404)

    def _airflow_role(self) -> str:
        """The role of Airflow. For an environment that nobody applied it is made at Airflow's first call."""
        role = self._mwaa.execution_role()
        if role and self.config.airflow_environment:
            self._principals.ensure_role(role, "airflow.amazonaws.com", "airflow-env.amazonaws.com")
        return role

    def _begin_with(self, file: Path | None) -> Snapshot | None:
        found = snapshots.read(file) if file else None
        if found is None:
            return None
        try:
            account.read(found.account, self._services, self.config.places)
        except account.AccountError:
            _LOG.exception("the snapshot %s cannot be used; the account is empty", file)
            return None
        return found

    def _write(self) -> Response:
        """POST /_mlops/account: write the account to `<home>/account`, as a snapshot holds it."""
        file = self.config.home / "account"
        try:
            with self._traffic.still(_STILL_SECONDS):
                content = account.write(self._services, self.config.places)
        except account.AccountError as error:
            return json_response({"error": str(error)}, status=409)
        file.touch(mode=0o600)
        file.write_bytes(content)
        return json_response({"bytes": len(content)})

    def _limit_mwaa(self, request: Request) -> Response:
        """POST /_mlops/mwaa/limit {"calls_per_second": 10}: refuse more, as MWAA does; null for no limit."""
        self._mwaa.limit(request.get_json(force=True)["calls_per_second"])
        return json_response({})

    def _log(self, request: Request) -> Response:
        """A log stream as plain text, as CloudWatch's console would show it."""
        from botocore.exceptions import ClientError

        group, stream = request.args.get("group", ""), request.args.get("stream", "")
        pages = self._sdk.logs.get_paginator("filter_log_events")
        try:
            found = pages.paginate(logGroupName=group, logStreamNames=[stream])
            lines = [event["message"] for page in found for event in page["events"]]
        except ClientError as error:
            return Response(f"{error}\n", status=404, mimetype="text/plain")
        if not lines:  # moto does not say whether there is such a stream
            return Response(f"Nothing in {group} {stream}\n", status=404, mimetype="text/plain")
        return Response("\n".join(lines) + "\n", mimetype="text/plain")


def create_app(config: LocalAwsConfig) -> LocalAws:
    """The application; serve it on 127.0.0.1 at the configured port, which its own answers name.

    There can be one a process: moto keeps its state in modules.
    """
    return LocalAws(config)


def _moto(config: LocalAwsConfig) -> WSGIApplication:
    # moto reads these when it is imported
    os.environ["MOTO_ACCOUNT_ID"] = config.account
    os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"
    # AWS allows no page to read its answers; S3 does where a bucket says so, and none of ours does
    os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "true"
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    from mlops_local.aws import corrections

    corrections.install()

    application: WSGIApplication = DomainDispatcherApplication(create_backend_app)
    return application
