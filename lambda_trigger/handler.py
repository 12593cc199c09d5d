"""The Lambda `dag-trigger`: starts any allowed DAG and says how its runs do.

Standard library, boto3 and the shared contract only, so there is nothing to package.
Takes a RunRequest, answers a RunAnswer (`mlops/contracts/runs.py`). Trouble that can be expected is an answer
with a `problem`, never an exception, so that a caller need not read the Lambda's log.

Also takes what EventBridge sends; nothing waits for the answer. `events.py` says what it means. A wrong event
is logged and done with; one that Airflow did not take is an exception: Lambda tries again, then keeps
it. Events come without an alias: a role that may call one could write any event.

Environment:
    AIRFLOW_ENVIRONMENT  the MWAA environment's name
    ALLOWED_DAGS         DAG ids, comma separated; `*` allows all. An alias starts the DAG of its name alone
    AIRFLOW_URL          optional: where people open Airflow, for links to runs
    DATA_WINDOW_SECONDS  optional: all new objects of a model within it are one run, started at its end
    TRAINING_DATA        optional: {"data/shared/": ["project/model"]}, where a prefix names no model
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Protocol, cast

import boto3
from botocore.config import Config

import event_shapes
import events
from airflow_api import (
    CONNECT_SECONDS,
    READ_SECONDS,
    AirflowApi,
    AirflowError,
    DagRun,
    RestApiClient,
    RunCache,
    Wait,
)
from mlops.base.errors import ContractError
from mlops.base.strict_json import encode
from mlops.contracts.runs import (
    CONF_LIMIT,
    DEPLOYMENT_DAG,
    ErrorKind,
    RunAnswer,
    RunProblem,
    RunRequest,
    canonical,
    parse_request,
)

_FINISHED = frozenset({"success", "failed"})
_DATA_WINDOW = 3600
# Asking again or keeping the event would change nothing: it is the event's own fault, or ours for good.
_NOT_FOR_RETRY = frozenset({"malformed", "dag_not_allowed", "conf_too_large"})
# A run that reported what happened may have ended this long before the event says it did: clocks differ.
_TOLERANCE_SECONDS = 300


class EventNotTakenError(Exception):
    """Airflow did not take the run of an event; Lambda retries it, then keeps it in a queue."""


class Context(Protocol):
    """What is used of https://docs.aws.amazon.com/lambda/latest/dg/python-context.html"""

    aws_request_id: str
    invoked_function_arn: str

    def get_remaining_time_in_millis(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class LambdaConfig:
    """The Lambda's own configuration."""

    airflow_environment: str
    allowed_dags: frozenset[str]
    airflow_url: str
    data: events.Data = field(default_factory=lambda: events.Data(window=_DATA_WINDOW, owners={}))
    takes_events: bool = True
    """Not through an alias: EventBridge's rules and schedules call the function itself."""

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> LambdaConfig:
        names = (name.strip() for name in variables.get("ALLOWED_DAGS", "").split(","))
        return cls(
            airflow_environment=variables.get("AIRFLOW_ENVIRONMENT", ""),
            allowed_dags=frozenset(name for name in names if name),
            airflow_url=variables.get("AIRFLOW_URL", "").rstrip("/"),
            data=events.Data(
                window=int(variables.get("DATA_WINDOW_SECONDS") or _DATA_WINDOW),
                owners=_owners(json.loads(variables.get("TRAINING_DATA") or "{}")),
            ),
        )

    def called_as(self, function_arn: str) -> LambdaConfig:
        """What is allowed through an alias: IAM lets a role call some aliases, and so start some DAGs.

        Run requests alone, no events: those would let the role say what has happened, such as an approval.
        """
        alias = ":".join(function_arn.split(":")[7:])
        if alias in ("", "$LATEST"):
            return self
        allowed = frozenset({alias}) if self.allows(alias) else frozenset()
        return replace(self, allowed_dags=allowed, takes_events=False)

    def allows(self, dag_id: str) -> bool:
        return "*" in self.allowed_dags or dag_id in self.allowed_dags


def _owners(document: Mapping[str, list[str]]) -> dict[str, tuple[tuple[str, str], ...]]:
    """Terraform checks their form."""
    return {
        prefix: tuple((project, model) for project, _, model in (name.partition("/") for name in names))
        for prefix, names in document.items()
    }


@functools.cache
def _client() -> RestApiClient:
    """One client a container: making it costs more than the call. Its own retries are off, ours know more."""
    config = Config(
        connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries={"total_max_attempts": 1}
    )
    return cast(RestApiClient, boto3.client("mwaa", config=config))


@functools.cache
def _memory() -> RunCache:
    """What this container knows from earlier invocations."""
    return RunCache()


def handler(event: object, context: Context) -> dict[str, Any]:
    """The Lambda's entry point."""
    config = LambdaConfig.read(os.environ).called_as(context.invoked_function_arn)
    return respond(event, context, _client(), config, memory=_memory())


def respond(  # pylint: disable=too-many-arguments,too-many-positional-arguments
    event: object,
    context: Context,
    client: RestApiClient,
    config: LambdaConfig,
    sleep: Callable[[float], None] = time.sleep,
    memory: RunCache | None = None,
) -> dict[str, Any]:
    """Answer one run request or event; one log line says what came of it, and one each wait for MWAA.

    Raises:
        EventNotTakenError: when Airflow did not take the run of an event; never for a run request.
    """
    started = time.monotonic()

    def log_wait(wait: Wait) -> None:
        _log(
            level="WARNING",
            request_id=context.aws_request_id,
            message=f"attempt {wait.attempt} was refused: waiting {wait.seconds} s",
            attempt=wait.attempt,
            wait_seconds=wait.seconds,
            kind=wait.kind,
            path=wait.path,
        )

    api = AirflowApi(
        client,
        config.airflow_environment,
        lambda: context.get_remaining_time_in_millis() / 1000,
        sleep,
        log_wait,
        memory,
    )
    facts: dict[str, object] = {}
    if event_shapes.is_event(event):
        answer = _handle_event(cast(Mapping[str, Any], event), api, config, facts)
    else:
        answer = _answer(event, api, config)
        facts["action"] = _text(event, "action")
    problem = answer.problem
    _log(
        level="INFO" if problem is None else "ERROR",
        request_id=context.aws_request_id,
        **facts,
        dag_id=answer.dag_id,
        run_id=answer.run_id,
        created=answer.created,
        outcome=problem.kind if problem else answer.state,
        problem=problem.message if problem and "event_id" in facts else None,
        airflow_status=problem.status if problem else None,
        airflow_calls=api.calls,
        waited_seconds=round(api.waited, 3),
        seconds=round(time.monotonic() - started, 3),
    )
    if problem and "event_id" in facts and problem.kind not in _NOT_FOR_RETRY:
        raise EventNotTakenError(f"{answer.dag_id} {answer.run_id}: {problem.kind}: {problem.message}")
    return cast(dict[str, Any], encode(answer))


def _handle_event(
    document: Mapping[str, Any], api: AirflowApi, config: LambdaConfig, facts: dict[str, object]
) -> RunAnswer:
    """What came of an event. The answer is not read; the log has it."""
    facts |= {"event_id": _text(document, "id"), "source": _text(document, "source")}
    facts["detail_type"] = _text(document, "detail-type") or _text(document, "event")
    if not config.takes_events:
        message = "an event came through an alias, which takes run requests alone"
        step = (
            "Send a run request. Only rules and schedules of EventBridge send events, to the function itself."
        )
        return RunAnswer(dag_id="", run_id="", problem=_refusal("malformed", message, step).problem)
    try:
        event = event_shapes.parse(document)
        orders = events.decide(event, config.data)
    except ContractError as error:
        message = f"{error.what}: {error.cause}" if error.cause else error.what
        problem = RunProblem(kind="malformed", message=message, next_step="", retryable=False)
        return RunAnswer(dag_id="", run_id="", problem=problem)
    facts |= {"event_id": event.id, "source": event.source, "event_time": str(event.time)}
    if isinstance(orders, events.Ignored):
        facts["ignored"] = orders.because
        return RunAnswer(dag_id="", run_id="")
    if len(orders) > 1:
        facts["runs"] = [order.request.run_id for order in orders]
    # The first that fails is reported and tried again; those before it are found by their ids then.
    answer = RunAnswer(dag_id="", run_id="")
    for order in orders:
        answer = _follow(order, event, api, config, facts)
        if answer.problem:
            break
    return answer


def _follow(
    order: events.Order,
    event: event_shapes.Event,
    api: AirflowApi,
    config: LambdaConfig,
    facts: dict[str, object],
) -> RunAnswer:
    request = order.request
    try:
        _check(request, config)
        if order.unless_busy and (run := _at_work(order, event, api)):
            facts["ignored"] = f"run {run.run_id} of {order.unless_busy} reports it itself"
            return RunAnswer(dag_id="", run_id="")
        return _ensure(order, api, config)
    except AirflowError as error:
        return RunAnswer(dag_id=request.dag_id, run_id=request.run_id, problem=error.problem)


def _ensure(order: events.Order, api: AirflowApi, config: LambdaConfig) -> RunAnswer:
    request = order.request
    if api.is_paused(request.dag_id):
        raise _paused(request.dag_id)
    run, created = api.ensure(request.dag_id, request.run_id, request.conf, order.run_after)
    return _answer_with(request, run, config, created=created)


def _at_work(order: events.Order, event: event_shapes.Event, api: AirflowApi) -> DagRun | None:
    """A run on the same model that was under way when the event happened."""
    moment = (event.time - timedelta(seconds=_TOLERANCE_SECONDS)).isoformat()
    owner = (order.request.conf["project"], order.request.conf["model"])
    for run in api.runs_since(order.unless_busy, moment):
        # a conf that was too large to travel lies below s3://<bucket>/<project>/<model>/
        pointed = str(run.conf.get("conf_uri", "")).split("/")[3:5]
        if owner in ((run.conf.get("project"), run.conf.get("model")), tuple(pointed)):
            return run
    return None


def _answer(event: object, api: AirflowApi, config: LambdaConfig) -> RunAnswer:
    try:
        request = _read(event, config)
        if request.action == "trigger":
            return _start(request, api, config)
        return _status(request, api, config)
    except AirflowError as error:
        return RunAnswer(dag_id=_text(event, "dag_id"), run_id=_text(event, "run_id"), problem=error.problem)


def _read(event: object, config: LambdaConfig) -> RunRequest:
    """The request, once everything that Airflow need not be asked for is checked."""
    try:
        request = parse_request(event)
        # These are wildcards or steps up a path in a URL, not names.
        if not request.dag_id.strip(".") or not request.run_id.strip(".~"):
            raise ContractError(
                "event.dag_id or event.run_id is not valid", cause="it has only dots or tildes"
            )
        canonical(request.conf)
    except ContractError as error:
        message = f"{error.what}: {error.cause}" if error.cause else error.what
        step = error.next_step or "Use ci-templates, Lambda and DAGs of one release of ml-ops."
        raise _refusal("malformed", message, step) from error
    except ValueError as error:  # NaN, which json.loads accepts and JSON does not have
        raise _refusal(
            "malformed", f"event.conf is not JSON: {error}", "Write only finite numbers."
        ) from error
    except RecursionError as error:
        raise _refusal("malformed", "event.conf is nested too deeply", "Send a flatter conf.") from error
    if request.dag_id == DEPLOYMENT_DAG and "package_arn" in request.conf:
        message = "event.conf is an approval, which comes with SageMaker's event alone"
        step = "Approve the version in the model registry, or run the job deploy."
        raise _refusal("malformed", message, step)
    _check(request, config)
    return request


def _check(request: RunRequest, config: LambdaConfig) -> None:
    """Refuse what this function may not start, or MWAA could not take."""
    if not config.allows(request.dag_id):
        allowed = ", ".join(sorted(config.allowed_dags)) or "none"
        raise _refusal(
            "dag_not_allowed",
            f"DAG '{request.dag_id}' may not be triggered here; allowed: {allowed}",
            "Add it to the allowed DAGs of this environment's Terraform.",
        )
    size = len(canonical(request.conf))
    if size > CONF_LIMIT:
        raise _refusal(
            "conf_too_large",
            f"conf has {size} bytes, at most {CONF_LIMIT} travel",
            "Put it on S3 and send a pointer (conf_uri, conf_sha256).",
        )
    if not config.airflow_environment:
        raise _refusal(
            "environment_missing",
            "AIRFLOW_ENVIRONMENT of the Lambda is not set",
            "Apply this environment's Terraform.",
        )


def _start(request: RunRequest, api: AirflowApi, config: LambdaConfig) -> RunAnswer:
    if api.is_paused(request.dag_id):
        run = api.find(request.dag_id, request.run_id)
        if run is None or run.state not in _FINISHED or canonical(run.conf) != canonical(request.conf):
            raise _paused(request.dag_id)
        return _answer_with(request, run, config)  # a finished run does not need the DAG unpaused
    run, created = api.start(request.dag_id, request.run_id, request.conf)
    return _answer_with(request, run, config, created=created)


def _status(request: RunRequest, api: AirflowApi, config: LambdaConfig) -> RunAnswer:
    run = api.find(request.dag_id, request.run_id)
    if run is None:
        raise _refusal(
            "run_not_found",
            f"DAG '{request.dag_id}' has no run '{request.run_id}'",
            "Start it: run the job that triggers it again.",
        )
    if run.state == "queued":  # it has no tasks yet, and would stay so for ever if the DAG is paused
        if api.is_paused(request.dag_id):
            raise _paused(request.dag_id)
        return _answer_with(request, run, config)
    tasks = api.tasks(request.dag_id, request.run_id)
    return RunAnswer(
        dag_id=request.dag_id,
        run_id=request.run_id,
        state=run.state,
        tasks=tasks,
        run_url=_run_url(request, config),
    )


def _answer_with(
    request: RunRequest, run: DagRun, config: LambdaConfig, *, created: bool = False
) -> RunAnswer:
    return RunAnswer(
        dag_id=request.dag_id,
        run_id=request.run_id,
        created=created,
        state=run.state,
        run_url=_run_url(request, config),
    )


def _run_url(request: RunRequest, config: LambdaConfig) -> str:
    if not config.airflow_url:
        return ""
    return f"{config.airflow_url}/dags/{request.dag_id}/runs/{request.run_id}"


def _refusal(kind: ErrorKind, message: str, next_step: str) -> AirflowError:
    return AirflowError(RunProblem(kind=kind, message=message, next_step=next_step, retryable=False))


def _paused(dag_id: str) -> AirflowError:
    return _refusal(
        "dag_paused",
        f"DAG '{dag_id}' is paused: Airflow takes its runs and never starts them",
        "Switch the DAG on in Airflow, then run this job again.",
    )


def _text(event: object, key: str) -> str:
    value = event.get(key) if isinstance(event, Mapping) else None
    return value[:100] if isinstance(value, str) else ""


def _log(**facts: object) -> None:
    """One JSON line for CloudWatch. The conf is never logged: it may hold private data."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
