"""What an event of AWS means: which DAG it starts, or why nothing. The table `RULES` is all there is.

Events are input from outside, delivered at least once and in any order. So a run's id follows from what the
event is about and the window its time falls into: the same event twice, or hundreds of one kind, are one run.
What a run then does it decides by the facts of that moment, so one that comes late does no harm.

Shapes: https://docs.aws.amazon.com/eventbridge/latest/ref/events-structure.html,
https://docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from event_shapes import NAME, SCHEDULE, Event, iso, named_by, names, owner, plain, text
from mlops.base.errors import ContractError
from mlops.base.strict_json import encode
from mlops.contracts.runs import (
    DEPLOYMENT_DAG,
    MONITORING_DAG,
    NOTICE_DAG,
    RETRAINING_DAG,
    SCHEMA_VERSION,
    TRAINING_DAG,
    UNSTORABLE,
    ApprovalConf,
    EventConf,
    MonitoringConf,
    NoticeConf,
    Occurrence,
    RetrainingConf,
    RunRequest,
    make_run_id,
)

DAY = 86400
HOUR = 3600

# Terraform names alarms after the platform: ml-ops-drift-<project>--<model>.
_ALARM = re.compile(rf"[a-z][a-z0-9-]*?-drift-(?P<project>{NAME})--(?P<model>{NAME})")
_ENDPOINT = re.compile(rf"(?P<project>{NAME})--(?P<model>{NAME})")
# versions.job_name() begins with the step's name.
_JOB = re.compile(rf"[a-z]+--(?P<project>{NAME})--(?P<model>{NAME})--.+")
# A channel's folder is between: data/<project>/train/ is not a model's called train.
_DATA = re.compile(rf"data/(?P<project>{NAME})/(?P<model>{NAME})/[^/]+/.*[^/]")
_TEXT = 1000


@dataclass(frozen=True, kw_only=True)
class Order:
    """The run that an event asks for."""

    request: RunRequest
    run_after: str = ""
    """When Airflow is to start it, ISO 8601; empty for at once."""
    unless_busy: str = ""
    """Nothing is started if a run of this DAG was at work on the model: it reports it itself."""


@dataclass(frozen=True, kw_only=True)
class Ignored:
    """Nothing is started, and that is right."""

    because: str


@dataclass(frozen=True, kw_only=True)
class Data:
    """What the environment says about training data."""

    window: int
    """Seconds within which all new objects of a model are one run."""
    owners: Mapping[str, tuple[tuple[str, str], ...]]
    """Project and model of those who train on what lies below a prefix that does not name them."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One line of the table: events of a source and type, under a condition."""

    source: str
    detail_type: str
    when: str
    """The condition, for people."""
    holds: Callable[[Event], bool]
    dag_id: str = ""
    """Empty where such events are ignored."""
    confs: Callable[[Event, Data], tuple[EventConf, ...]] | None = None
    """Makes the confs of the runs; none if the event is about no model."""
    window: int = 0
    """Seconds within which all such events of a model are one run; 0 for the exact time."""
    at_end: bool = False
    """Whether the run starts at the end of its window, when everything of the window is there."""
    unless_busy: str = ""
    because: str = ""
    """Why such events are ignored."""


def decide(event: Event, data: Data) -> tuple[Order, ...] | Ignored:
    """What to do for an event.

    Raises:
        ContractError: when the event lacks what events of its kind have.
    """
    known = [rule for rule in RULES if (rule.source, rule.detail_type) == (event.source, event.detail_type)]
    for rule in known:
        if not rule.holds(event):
            continue
        orders = tuple(
            _order(rule, event, conf, data) for conf in (rule.confs(event, data) if rule.confs else ())
        )
        return orders or Ignored(because=rule.because or "it is about no model of the platform")
    if known:
        return Ignored(because="nothing is to be done in this state")
    return Ignored(because=f"events '{event.detail_type}' of {event.source} are not known")


def _order(rule: Rule, event: Event, conf: EventConf, data: Data) -> Order:
    window = data.window if rule.at_end else rule.window
    start = event.time
    if window:
        start = datetime.fromtimestamp(event.time.timestamp() // window * window, UTC)
    about = conf.what if isinstance(conf, NoticeConf) else ""
    about = conf.package_arn if isinstance(conf, ApprovalConf) else about
    reason = conf.reason if isinstance(conf, RetrainingConf) else ""
    identity = f"{rule.dag_id}|{conf.project}|{conf.model}|{reason}|{about}|{iso(start)}"
    return Order(
        request=RunRequest(
            schema_version=SCHEMA_VERSION,
            action="trigger",
            dag_id=rule.dag_id,
            run_id=make_run_id(conf.model, identity),
            conf=encode(conf),
        ),
        run_after=iso(start + timedelta(seconds=window)) if rule.at_end and window else "",
        unless_busy=rule.unless_busy,
    )


def _always(event: Event) -> bool:
    del event
    return True


def _state_is(*states: str) -> Callable[[Event], bool]:
    wanted = {plain(state) for state in states}

    def holds(event: Event) -> bool:
        detail = event.detail
        state = next((detail[key] for key in _STATES if key in detail), None)
        if isinstance(state, Mapping):  # an alarm's
            state = state.get("value")
        if not isinstance(state, str):
            raise ContractError(f"event.detail of '{event.detail_type}' has no state")
        return plain(state) in wanted

    return holds


_STATES = ("state", "TrainingJobStatus", "EndpointStatus", "ModelApprovalStatus")


def _scheduled_monitoring(event: Event) -> EventConf:
    project, model = names(event.detail)
    return MonitoringConf(
        schema_version=SCHEMA_VERSION,
        project=project,
        model=model,
        window_end=iso(event.time),
        occurrence=_occurrence(event, f"scheduled monitoring of {model}"),
    )


def _scheduled_retraining(event: Event) -> EventConf:
    project, model = names(event.detail)
    return RetrainingConf(
        schema_version=SCHEMA_VERSION,
        project=project,
        model=model,
        reason="schedule",
        occurrence=_occurrence(event, f"scheduled retraining of {model}"),
    )


def _drifted(event: Event) -> EventConf | None:
    alarm = text(event.detail, "alarmName")
    found = named_by(_ALARM.fullmatch(alarm))
    if found is None:
        return None
    project, model = found
    state = event.detail.get("state")
    reason = state.get("reason") if isinstance(state, Mapping) else None
    return RetrainingConf(
        schema_version=SCHEMA_VERSION,
        project=project,
        model=model,
        reason="drift",
        occurrence=_occurrence(event, f"alarm {alarm}: {reason or 'no reason given'}"),
    )


def _new_data(event: Event, data: Data) -> tuple[EventConf, ...]:
    stored, bucket = event.detail.get("object"), event.detail.get("bucket")
    if not isinstance(stored, Mapping) or not isinstance(bucket, Mapping):
        raise ContractError("event.detail of 'Object Created' has no object or no bucket")
    key, place = text(stored, "key"), text(bucket, "name")
    prefixes = [prefix for prefix in data.owners if key.startswith(prefix) and not key.endswith("/")]
    if prefixes:
        owners = data.owners[max(prefixes, key=len)]
    else:
        found = named_by(_DATA.fullmatch(key))
        owners = () if found is None else (found,)
    return tuple(
        RetrainingConf(
            schema_version=SCHEMA_VERSION,
            project=project,
            model=model,
            reason="data",
            occurrence=_occurrence(event, f"new object s3://{place}/{key}"),
        )
        for project, model in owners
    )


def _one(make: Callable[[Event], EventConf | None]) -> Callable[[Event, Data], tuple[EventConf, ...]]:
    """Of events that are about one model at most."""

    def confs(event: Event, _data: Data) -> tuple[EventConf, ...]:
        conf = make(event)
        return () if conf is None else (conf,)

    return confs


def _job_ended(event: Event) -> EventConf | None:
    name, status = text(event.detail, "TrainingJobName"), text(event.detail, "TrainingJobStatus")
    found = owner(event.detail, _JOB.fullmatch(name))
    if found is None:
        return None
    return NoticeConf(
        schema_version=SCHEMA_VERSION,
        project=found[0],
        model=found[1],
        what=f"Training job {name} {status.lower()}",
        cause=_cause(event.detail, f"SageMaker says no more than {status}"),
        log_url=_console(event, f"jobs/{name}"),
        next_step="Nothing waits for this job: start the training again where it was started.",
        occurrence=_occurrence(event, f"training job {name}: {status}"),
    )


def _endpoint_broke(event: Event) -> EventConf | None:
    name, status = text(event.detail, "EndpointName"), text(event.detail, "EndpointStatus")
    found = owner(event.detail, _ENDPOINT.fullmatch(name))
    if found is None:
        return None
    words = status.lower().replace("_", " ")
    return NoticeConf(
        schema_version=SCHEMA_VERSION,
        project=found[0],
        model=found[1],
        what=f"Endpoint {name} is {words}",
        cause=_cause(event.detail, f"SageMaker says no more than {status}"),
        log_url=_console(event, f"endpoints/{name}"),
        next_step="No deployment was under way: find who changed the endpoint, then deploy the model again.",
        occurrence=_occurrence(event, f"endpoint {name}: {words}"),
    )


def _approved(event: Event) -> EventConf | None:
    # Unversioned packages, as those of a marketplace, have no group.
    found = named_by(_ENDPOINT.fullmatch(str(event.detail.get("ModelPackageGroupName", ""))))
    if found is None:
        return None
    arn = text(event.detail, "ModelPackageArn")
    return ApprovalConf(
        schema_version=SCHEMA_VERSION,
        project=found[0],
        model=found[1],
        package_arn=arn,
        occurrence=_occurrence(event, f"model package {arn.rpartition(':')[2]}: Approved"),
    )


_ENDPOINT_BROKE = ("Failed", "OutOfService", "RollingBack", "UpdateRollbackFailed")

RULES: tuple[Rule, ...] = (
    Rule(
        source=SCHEDULE,
        detail_type="monitoring",
        when="always",
        holds=_always,
        dag_id=MONITORING_DAG,
        confs=_one(_scheduled_monitoring),
    ),
    Rule(
        source=SCHEDULE,
        detail_type="retraining",
        when="always",
        holds=_always,
        dag_id=RETRAINING_DAG,
        confs=_one(_scheduled_retraining),
    ),
    Rule(
        source="aws.events",
        detail_type="Scheduled Event",
        when="always",
        holds=_always,
        because="a schedule says by its input what is to be done, and this one has none",
    ),
    Rule(
        source="aws.cloudwatch",
        detail_type="CloudWatch Alarm State Change",
        when="a model's drift alarm is in ALARM",
        holds=_state_is("ALARM"),
        dag_id=RETRAINING_DAG,
        confs=_one(_drifted),
        window=DAY,
    ),
    Rule(
        source="aws.cloudwatch",
        detail_type="CloudWatch Alarm State Change",
        when="OK or INSUFFICIENT_DATA",
        holds=_state_is("OK", "INSUFFICIENT_DATA"),
        because="the retraining that an alarm started decides by itself whether it is still due",
    ),
    Rule(
        source="aws.s3",
        detail_type="Object Created",
        when="below `data/<project>/<model>/<channel>/`, or a prefix of `training_data`",
        holds=_always,
        dag_id=RETRAINING_DAG,
        confs=_new_data,
        at_end=True,
    ),
    Rule(
        source="aws.sagemaker",
        detail_type="SageMaker Training Job State Change",
        when="Failed or Stopped",
        holds=_state_is("Failed", "Stopped"),
        dag_id=NOTICE_DAG,
        confs=_one(_job_ended),
        window=DAY,
        unless_busy=TRAINING_DAG,
    ),
    Rule(
        source="aws.sagemaker",
        detail_type="SageMaker Training Job State Change",
        when="any other state",
        holds=_always,
        because="who started the job waits for it",
    ),
    *(
        rule
        for detail_type in ("SageMaker Endpoint State Change", "SageMaker Endpoint Deployment State Change")
        for rule in (
            Rule(
                source="aws.sagemaker",
                detail_type=detail_type,
                when="failed, out of service or rolled back",
                holds=_state_is(*_ENDPOINT_BROKE),
                dag_id=NOTICE_DAG,
                confs=_one(_endpoint_broke),
                window=HOUR,
                unless_busy=DEPLOYMENT_DAG,
            ),
            Rule(
                source="aws.sagemaker",
                detail_type=detail_type,
                when="any other state",
                holds=_always,
                because="an endpoint that is well, or on its way, needs no action",
            ),
        )
    ),
    Rule(
        source="aws.sagemaker",
        detail_type="SageMaker Model Package State Change",
        when="Approved",
        holds=_state_is("Approved"),
        dag_id=DEPLOYMENT_DAG,
        confs=_one(_approved),
    ),
    Rule(
        source="aws.sagemaker",
        detail_type="SageMaker Model Package State Change",
        when="any other state",
        holds=_always,
        because="only an approval deploys a model",
    ),
)


def _occurrence(event: Event, summary: str) -> Occurrence:
    return Occurrence(
        id=event.id,
        source=event.source,
        detail_type=event.detail_type,
        time=iso(event.time),
        summary=UNSTORABLE.sub(" ", " ".join(summary.split()))[:_TEXT],
    )


def _cause(detail: Mapping[str, Any], otherwise: str) -> str:
    reason = detail.get("FailureReason")
    return UNSTORABLE.sub(" ", reason)[:_TEXT] if isinstance(reason, str) and reason else otherwise


def _console(event: Event, page: str) -> str:
    if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-[0-9]", event.region):
        return ""
    return f"https://{event.region}.console.aws.amazon.com/sagemaker/home?region={event.region}#/{page}"
