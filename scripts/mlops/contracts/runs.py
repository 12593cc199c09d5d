"""What travels between CI, the Lambda and the DAGs. Pure data; standard library only.

A run request goes from a CI job to the Lambda `dag-trigger`, which passes its `conf` to Airflow unchanged.
`docs/reference/contracts.md` describes every field.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from mlops.base.errors import ContractError
from mlops.base.strict_json import decode, encode

SCHEMA_VERSION = 1

TRAINING_DAG = "model_training"
DEPLOYMENT_DAG = "model_deployment"
RETRAINING_DAG = "model_retraining"
MONITORING_DAG = "model_monitoring"
NOTICE_DAG = "model_notice"

# MWAA's InvokeRestApi takes paths of at most 64 characters (botocore, mwaa, RestApiPath), and the longest
# we send is /dags/<dag id>/dagRuns/<run id>: for model_deployment that leaves 33 for the run id.
REST_PATH_LIMIT = 64
DAG_ID_LIMIT = 50
RUN_ID_LIMIT = 33

# A conf above this many bytes travels as a pointer to S3: it lands in Airflow's database, in every task's
# template context and in the log.
CONF_LIMIT = 16 * 1024

# PostgreSQL, where Airflow keeps a conf and what tasks hand over, has no NUL in a text, and UTF-8 no half
# of a pair.
UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")

DAG_ID = re.compile(r"[A-Za-z0-9_.-]{1,50}")
RUN_ID = re.compile(r"[A-Za-z0-9_.~:+-]{1,33}")


# A time that an event states may be this far ahead of the reader's own: their clocks differ. Further ahead it
# is not a time at which anything happened.
CLOCKS_DIFFER = timedelta(minutes=5)

EVENT_SOURCE = "event"
"""`Origin.pipeline_source` of runs that answer an event and no pipeline."""

MERGE_REQUEST_SOURCE = "merge_request_event"
"""`Origin.pipeline_source` of all runs of merge requests; GitLab's word for their pipelines."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a run comes from, for messages and lineage. Empty strings where there is nothing to say."""

    project_path: str = ""
    ref: str = ""
    commit_sha: str = ""
    commit_title: str = ""
    pipeline_url: str = ""
    pipeline_source: str = ""
    job_url: str = ""
    user: str = ""


def of_merge_request(origin: Origin) -> bool:
    """Whether a run is a merge request's: its work never is a release, a recipe or a deployment."""
    return origin.pipeline_source == MERGE_REQUEST_SOURCE


def started_by_push(origin: Origin) -> bool:
    """Whether a person's change is behind a run; else a schedule or an event is."""
    return origin.pipeline_source not in {"schedule", EVENT_SOURCE}


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A goal for one metric of evaluation.json.

    `min` and `max` bound the challenger's own value; `max_regression` is how much worse than the
    champion it may be, in the metric's own unit, never negative.
    """

    name: str
    goal: Literal["maximize", "minimize"]
    min: float | None = None
    max: float | None = None
    max_regression: float | None = None


@dataclass(frozen=True, kw_only=True)
class Training:
    """A SageMaker training job. `channels` maps a channel's name to an S3 prefix; times are in seconds."""

    channels: dict[str, str]
    instance_type: str
    instance_count: int
    volume_gb: int
    max_runtime_seconds: int
    spot: bool
    max_wait_seconds: int
    hyper_parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A SageMaker processing job that runs the container's `evaluate` on `data`, an S3 prefix."""

    data: str
    instance_type: str
    volume_gb: int
    max_runtime_seconds: int
    metrics: tuple[Metric, ...]


@dataclass(frozen=True, kw_only=True)
class Notifications:
    """Who hears of this model: a channel of the platform, by Slack, by e-mail or by both."""

    slack: bool = True
    email: bool = True
    channel: str = "default"


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """When a model is trained again without a push; times are in seconds."""

    max_age_seconds: int | None = None
    """None: never because of its age."""
    min_interval_seconds: int = 20 * 3600
    """However many reasons there are, not more often than this."""
    on_new_data: bool = True
    on_drift: bool = False


@dataclass(frozen=True, kw_only=True)
class DriftThresholds:
    """From this size on, a significant difference counts as drift; all are from 0 to 1."""

    significance: float = 0.01
    """The chance of one false alarm or more in a run, all columns and tests together."""
    psi: float = 0.2
    """Population stability index of a column."""
    ks: float = 0.15
    """Kolmogorov-Smirnov statistic of a column of numbers."""
    missing: float = 0.05
    """By how much the share of missing values grew."""
    unseen: float = 0.02
    """The share of values that training never saw."""


@dataclass(frozen=True, kw_only=True)
class Monitoring:
    """What `model_monitoring` compares an endpoint's captured requests with, and how."""

    baseline: str
    """An S3 prefix of CSV files with a header, or of JSON lines; columns named as in the requests."""
    sampling_percent: int = 100
    """Of the requests; the endpoint keeps them."""
    window_seconds: int = 7 * 86400
    min_rows: int = 200
    """Of fewer captured rows nothing is concluded."""
    ignored_columns: tuple[str, ...] = ()
    thresholds: DriftThresholds = DriftThresholds()


@dataclass(frozen=True, kw_only=True)
class SmokeTest:
    """One request that a fresh endpoint must answer with HTTP 200 and this model's version."""

    content_type: str
    body: str


@dataclass(frozen=True, kw_only=True)
class DataCapture:
    """Which of an endpoint's requests and answers SageMaker keeps, and where."""

    sampling_percent: int
    destination: str
    """An S3 prefix; SageMaker adds `<endpoint>/<variant>/yyyy/mm/dd/hh/<file>.jsonl`."""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """How the endpoint is to be; `startup_timeout_seconds` is SageMaker's container health-check time-out."""

    endpoint_name: str
    instance_type: str
    instance_count: int
    startup_timeout_seconds: int
    smoke_test: SmokeTest
    data_capture: DataCapture | None = None


@dataclass(frozen=True, kw_only=True)
class ModelPlan:
    """What a manifest asks for a model, as it travels."""

    training: Training
    evaluation: Evaluation
    retraining: Retraining = Retraining()
    monitoring: Monitoring | None = None
    notifications: Notifications = Notifications()
    deployment: Deployment | None = None
    """How the endpoint is to be when a version is approved; None leaves that to the job `deploy`."""

    def parts(self) -> dict[str, Any]:
        """The plan's own fields, for another record that has the same."""
        return {one.name: getattr(self, one.name) for one in fields(ModelPlan)}


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """What every record about a model begins with."""

    schema_version: int
    project: str
    model: str


@dataclass(frozen=True, kw_only=True)
class ModelVersionRecord(ModelRecord):
    """What every record about a version of a model begins with."""

    model_version: str
    """`<image version>+retrain.<n>`."""


@dataclass(frozen=True, kw_only=True)
class TrainingConf(ModelPlan, ModelVersionRecord):
    """The `conf` of the DAG `model_training`."""

    image_version: str
    image_uri: str
    """`<registry>/<project>/<model>@sha256:<digest>`."""
    evidence_uri: str
    """S3 prefix with a trailing slash; evaluation, comparison and lineage land below it."""
    origin: Origin = Origin()


@dataclass(frozen=True, kw_only=True)
class Override:
    """A person's decision to deploy in spite of the evidence."""

    reason: str
    user: str


@dataclass(frozen=True, kw_only=True)
class DeploymentConf(ModelVersionRecord):
    """The `conf` of the DAG `model_deployment`."""

    evidence_uri: str
    deployment: Deployment
    override: Override | None = None
    notifications: Notifications = Notifications()
    origin: Origin = Origin()


@dataclass(frozen=True, kw_only=True)
class Occurrence:
    """What happened, where a run answers an event and no pipeline; nothing of it is trusted as an order."""

    id: str
    """The event's own, the same when it is delivered twice."""
    source: str
    """Such as aws.cloudwatch."""
    detail_type: str
    """Such as CloudWatch Alarm State Change."""
    time: str
    """UTC, ISO 8601."""
    summary: str = ""
    """One line for people."""


@dataclass(frozen=True, kw_only=True)
class RetrainingConf(ModelRecord):
    """The `conf` of the DAG `model_retraining`, which decides and, where the model is due, has it trained."""

    reason: Literal["drift", "data", "schedule"]
    occurrence: Occurrence


@dataclass(frozen=True, kw_only=True)
class MonitoringConf(ModelRecord):
    """The `conf` of the DAG `model_monitoring`: what an endpoint was asked in a window, and a baseline."""

    window_end: str
    """UTC, ISO 8601; the window's length is the model's own."""
    occurrence: Occurrence


@dataclass(frozen=True, kw_only=True)
class NoticeConf(ModelRecord):
    """The `conf` of the DAG `model_notice`: a failure that no other run or job reports."""

    what: str
    """What failed, in one line."""
    cause: str
    log_url: str
    next_step: str
    occurrence: Occurrence


@dataclass(frozen=True, kw_only=True)
class ApprovalConf(ModelRecord):
    """The other `conf` of the DAG `model_deployment`: somebody approved a version in SageMaker's registry.

    What is to be deployed, and how, is read from the registry and the evidence.
    """

    package_arn: str
    """Of the model package, `...:model-package/<project>--<model>/<number>`."""
    occurrence: Occurrence
    """Its time is the event's. The registry states the time of the decision."""


Conf = TrainingConf | DeploymentConf
"""Of runs about one model version; CI sends them."""
EventConf = RetrainingConf | MonitoringConf | NoticeConf | ApprovalConf
"""Of runs that answer an event; the Lambda makes them."""
CONFS: Mapping[str, type[Conf | EventConf]] = {
    TRAINING_DAG: TrainingConf,
    DEPLOYMENT_DAG: DeploymentConf,
    RETRAINING_DAG: RetrainingConf,
    MONITORING_DAG: MonitoringConf,
    NOTICE_DAG: NoticeConf,
}


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What CI sends to the Lambda.

    `trigger` starts the run or finds it; `status` asks how it goes (`conf` is then empty).
    """

    schema_version: int
    action: Literal["trigger", "status"]
    dag_id: str
    run_id: str
    conf: dict[str, Any] = field(default_factory=dict)


RunState = Literal["queued", "running", "success", "failed"]


@dataclass(frozen=True, kw_only=True)
class TaskState:
    """One task instance of a run; `state` is Airflow's word, empty before it is scheduled."""

    task_id: str
    state: str
    try_number: int
    seconds: float | None = None


ErrorKind = Literal[
    "malformed",  # the event is not a run request, or its conf does not fit the DAG
    "conf_too_large",  # send a pointer to S3 instead
    "dag_not_allowed",  # not in this environment's list
    "dag_not_found",  # Airflow does not know it (yet)
    "dag_paused",  # Airflow would accept the run and never start it
    "run_not_found",
    "conflict",  # the run id exists with another conf
    "environment_missing",  # no such MWAA environment, or it is not available
    "access_denied",
    "throttled",
    "airflow_unavailable",  # Airflow's 5xx, after our retries
    "rejected",  # any other 4xx of Airflow
]


@dataclass(frozen=True, kw_only=True)
class RunProblem:
    """Why the Lambda did not do what was asked."""

    kind: ErrorKind
    message: str
    next_step: str
    retryable: bool
    status: int | None = None
    """Airflow's HTTP status, where it answered."""


@dataclass(frozen=True, kw_only=True)
class RunAnswer:
    """What the Lambda answers: `problem`, or the run's state and, for `status`, its tasks in start order."""

    dag_id: str
    run_id: str
    created: bool = False
    state: RunState | None = None
    tasks: tuple[TaskState, ...] = ()
    run_url: str = ""
    problem: RunProblem | None = None


def is_to_come(time: datetime) -> bool:
    """Whether a time, which must have its zone, lies in the future, by more than clocks differ."""
    return time > datetime.now(UTC) + CLOCKS_DIFFER


def conf_pointer(uri: str, sha256: str) -> dict[str, str]:
    """The stand-in for a conf that is too large to travel: `uri` is an S3 object with the JSON text."""
    return {"conf_uri": uri, "conf_sha256": sha256}


def is_conf_pointer(conf: Mapping[str, Any]) -> bool:
    """Whether `conf` is a pointer, to be read and checked against its SHA-256 before use."""
    return set(conf) == {"conf_uri", "conf_sha256"} and all(isinstance(value, str) for value in conf.values())


def canonical(conf: Mapping[str, Any]) -> bytes:
    """The one byte string of a conf: what is measured, hashed and compared."""
    return json.dumps(encode(conf), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def request_fingerprint(training: Training, evaluation: Evaluation) -> str:
    """The SHA-256 of what a manifest asks for: with another one, the same image trains again."""
    asked = {"training": training, "evaluation": evaluation}
    return hashlib.sha256(canonical(asked)).hexdigest()


def make_run_id(label: str, identity: str, attempt: int = 1) -> str:
    """A run id that the same work always gets, so that a retried job finds its run.

    Args:
        label: What a person sees, such as the model's name; cut where it is too long.
        identity: Everything that makes this work what it is, such as dag, model version and pipeline.
        attempt: 2 and up for a new try after a run that failed.
    """
    readable = re.sub(r"[^A-Za-z0-9-]", "-", label)
    suffix = f".{hashlib.sha256(identity.encode()).hexdigest()[:10]}.{attempt}"
    return readable[: RUN_ID_LIMIT - len(suffix)] + suffix


def parse_conf(dag_id: str, conf: Mapping[str, Any]) -> Conf | EventConf:
    """The typed conf of one of our DAGs.

    Raises:
        ContractError: when a key is unknown, missing or of the wrong type.
    """
    record = CONFS[dag_id]
    if dag_id == DEPLOYMENT_DAG and "package_arn" in conf:
        record = ApprovalConf
    parsed = decode(record, dict(conf), "conf")
    if parsed.schema_version != SCHEMA_VERSION:
        raise ContractError(
            f"conf has schema version {parsed.schema_version}, this side speaks {SCHEMA_VERSION}",
            next_step="Use ci-templates, Lambda and DAGs of one release of ml-ops.",
        )
    return parsed


def parse_request(event: object) -> RunRequest:
    """The run request in a Lambda event.

    Raises:
        ContractError: when the event is not a run request, an id does not match, or the conf of a DAG of ours
            does not fit. A pointer passes: the DAG reads and checks it.
    """
    request = decode(RunRequest, event, "event")
    if request.schema_version != SCHEMA_VERSION:
        raise ContractError(
            f"event has schema version {request.schema_version}, this Lambda speaks {SCHEMA_VERSION}",
            next_step="Use ci-templates, Lambda and DAGs of one release of ml-ops.",
        )
    if not DAG_ID.fullmatch(request.dag_id):
        raise ContractError(
            "event.dag_id is not valid", cause=f"found {request.dag_id!r}, allowed is {DAG_ID.pattern}"
        )
    if not RUN_ID.fullmatch(request.run_id):
        raise ContractError(
            "event.run_id is not valid", cause=f"found {request.run_id!r}, allowed is {RUN_ID.pattern}"
        )
    if request.action == "trigger" and request.dag_id in CONFS and not is_conf_pointer(request.conf):
        parse_conf(request.dag_id, request.conf)
    return request
