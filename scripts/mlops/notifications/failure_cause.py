"""Why a DAG run failed, said so that a person can act: the real cause, its log, the next step."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mlops.base.errors import MlopsError, StorageError
from mlops.base.strict_json import decode
from mlops.clients.aws.job_logs import LogTail, tail, tail_since
from mlops.clients.aws.oci_registry import RELEASE_AGAIN
from mlops.clients.aws.sagemaker import LOG_GROUPS, JobKind, job_failure, job_runs, stop_job
from mlops.clients.aws.session import explained
from mlops.contracts.evidence import FAILURE, Failure
from mlops.contracts.runs import SCHEMA_VERSION, Origin
from mlops.notifications.messages import storable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sagemaker import SageMakerClient

    from mlops.clients.aws.s3 import Storage

ENDPOINT_LOGS = "/aws/sagemaker/Endpoints"

# https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
_NO_PING = (
    "A container must answer GET /ping at port $SAGEMAKER_BIND_TO_PORT, 8080 where that is not set; on all "
    "addresses, not localhost only, or on $MLOPS_BIND_HOST where that is set; within "
    "deployment.startup_timeout; and its ENTRYPOINT must start the server when the argument is `serve`."
)
_RETRY = "Run the job again; if it fails the same way, send the log to the platform's team."
_WORKER_LOST = (
    "The worker that ran the task ended without a result: it was killed, out of memory or shut down."
)

# What SageMaker's failure reasons begin with, or hold, and whose turn it is then.
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeTrainingJob.html (FailureReason)
_ADVICE = (
    (
        "CapacityError",
        "AWS has no such machine free now: run the job again later, or choose another instance type.",
    ),
    ("InternalServerError", "SageMaker failed, not the model: run the job again."),
    ("AlgorithmError", "The model's code failed: the last lines of its log say where. Correct it and push."),
    ("ExitCode", "The model's code failed: the last lines of its log say where. Correct it and push."),
    ("MaxRuntimeExceeded", "Raise the time limit in mlops.yml, or train less."),
    ("MaxWaitTimeExceeded", "No spot machine came in time: raise the limit in mlops.yml, or turn spot off."),
    (
        "ClientError",
        "SageMaker could not use what it was given (image, data, permissions): correct it and push.",
    ),
)


@dataclass(frozen=True, kw_only=True)
class TaskError:
    """What a failed task left behind. All empty when its worker was lost."""

    task_id: str
    what: str = ""
    next_step: str = ""
    log_url: str = ""


@dataclass(frozen=True, kw_only=True)
class StartedJob:
    """The SageMaker job a task had started."""

    kind: JobKind
    name: str


@dataclass(frozen=True, kw_only=True)
class FailedRun:
    """The run a failure belongs to; model and version are empty when its conf could not be read."""

    dag_id: str
    run_id: str
    project: str = ""
    model: str = ""
    model_version: str = ""
    evidence_uri: str = ""
    """Empty unless the first task found it to be the platform's own."""
    endpoint: str = ""
    """Set for deployments: its log explains why a container did not come up."""
    changed_since: str = ""
    """When the deployment began, ISO 8601: what wrote to that log before is not what was deployed."""
    log_url_template: str = ""
    jobs: Mapping[str, StartedJob] = field(default_factory=dict)
    """By task."""
    origin: Mapping[str, str] = field(default_factory=dict)
    """A runs.Origin, encoded."""


def subject(
    dag_id: str,
    run_id: str,
    conf: Mapping[str, Any],
    plan: Mapping[str, Any],
    jobs: Mapping[str, Mapping[str, str] | None],
) -> FailedRun:
    """What is known of a run.

    Args:
        dag_id: Of the run.
        run_id: Of the run.
        conf: As it came; nobody has checked it.
        plan: The encoded plan of the first task, or what of it could be found out when that failed.
        jobs: For each task, the `StartedJob` it had started, encoded; None when it had not.
    """
    checked = plan.get("conf", {})
    loose = {key: conf.get(key) for key in ("project", "model", "model_version")}
    names = {key: str(checked.get(key) or value or "")[:100] for key, value in loose.items()}
    origin = checked.get("origin") or conf.get("origin")
    known = {one.name for one in fields(Origin)}
    return FailedRun(
        dag_id=dag_id,
        run_id=run_id,
        evidence_uri=checked.get("evidence_uri", ""),
        endpoint=(checked.get("deployment") or {}).get("endpoint_name", ""),
        changed_since=plan.get("began_at", ""),
        log_url_template=plan.get("settings", {}).get("log_group_url", ""),
        jobs={task: decode(StartedJob, dict(job), task) for task, job in jobs.items() if job},
        origin={key: str(value) for key, value in origin.items() if key in known}
        if isinstance(origin, dict)
        else {},
        **names,
    )


def task_error(task_id: str, error: BaseException | None, log_url: str) -> TaskError:
    """What an exception says; one of ours, or one that wraps ours, keeps its advice."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MlopsError):
            what = storable("\n".join(part for part in (seen.what, seen.cause) if part))
            return TaskError(
                task_id=task_id, what=what, next_step=seen.next_step, log_url=seen.link or log_url
            )
        seen = seen.__cause__
    what = f"{type(error).__name__}: {error}" if error is not None else ""
    return TaskError(task_id=task_id, what=storable(what)[:4000], log_url=log_url)


def explain(
    about: FailedRun, errors: list[TaskError], sagemaker: SageMakerClient, logs: CloudWatchLogsClient
) -> Failure:
    """The failure of a run from what its failed tasks left, the first of them first."""
    first = errors[0] if errors else TaskError(task_id="run")
    cause, next_step, log_url = first.what or _WORKER_LOST, first.next_step, first.log_url
    log = LogTail("", "", ())
    job = about.jobs.get(first.task_id)
    if job is not None:
        reason, runs = _fate(sagemaker, job)
        if reason:
            log = tail(logs, LOG_GROUPS[job.kind], f"{job.name}/")
            cause, next_step = reason, advice(reason)
        elif runs:
            cause += f"\nThe task failed, not its job: {job.name} still runs, and was not stopped."
            next_step = (
                f"Clear the task {first.task_id} of this run in Airflow: it goes on with that job, and the "
                "run with it. Run again, the job of the pipeline trains anew. To end the job: "
                f"aws sagemaker stop-{job.kind}-job --{job.kind}-job-name {job.name}"
            )
    elif "Unsupported manifest media type" in cause:  # CreateModel, of an image that an older ml-ops released
        next_step = RELEASE_AGAIN
    elif about.endpoint and first.task_id in {"wait_for_endpoint", "confirm"}:
        since = datetime.fromisoformat(about.changed_since) if about.changed_since else None
        found = tail_since(logs, f"{ENDPOINT_LOGS}/{about.endpoint}", since)
        if found is not None and not found.lines:
            cause += "\nThe new container wrote nothing to its log."
        log = found or log
        if first.task_id == "confirm" and not next_step:
            next_step = (
                "Clear the task confirm of this run in Airflow: the endpoint may serve the new version "
                "without its test. The job deploy would find nothing to do."
            )
        if "ping health check" in cause:
            next_step = f"{next_step} {_NO_PING}".strip()
    if log.lines:
        cause += "\nLast lines of its log:\n" + "\n".join(log.lines)
    if len(errors) > 1:
        cause += f"\nAlso failed: {', '.join(error.task_id for error in errors[1:])}"
    return Failure(
        schema_version=SCHEMA_VERSION,
        project=about.project,
        model=about.model,
        model_version=about.model_version,
        dag_id=about.dag_id,
        run_id=about.run_id,
        task_id=first.task_id,
        cause=cause,
        log_url=log.url(about.log_url_template) or log_url,
        next_step=next_step or _RETRY,
    )


def _fate(sagemaker: SageMakerClient, job: StartedJob) -> tuple[str, bool]:
    """Why SageMaker ended a job, and whether it still runs; empty and False if it does not say.

    The failure is reported all the same.
    """
    try:
        with explained():
            reason = job_failure(sagemaker, job.kind, job.name)
            return reason, not reason and job_runs(sagemaker, job.kind, job.name)
    except MlopsError as error:
        logging.getLogger(__name__).error(
            "SageMaker does not say what became of %s: %s", job.name, error.cause
        )
        return "", False


def stop_jobs(jobs: Mapping[str, StartedJob], sagemaker: SageMakerClient) -> None:
    """Stop what still runs of jobs whose task a person ended: nothing waits for it, and it costs money.

    A job whose task died of anything else is left alone. It may be days of work, and the next try of its task
    goes on with it.
    """
    for job in jobs.values():
        try:
            with explained():
                stop_job(sagemaker, job.kind, job.name)
        except MlopsError as error:
            logging.getLogger(__name__).warning(
                "%s was not stopped: it ended, never began, or goes on: %s", job.name, error.cause
            )


def keep(failure: Failure, about: FailedRun, storage: Storage) -> None:
    """Write failure.json for the CI job that waits; a message goes out even where that fails."""
    if not about.evidence_uri:
        return
    try:
        storage.write_record(failure, about.evidence_uri + FAILURE)
    except StorageError as error:
        logging.getLogger(__name__).error("failure.json was not written: %s", error)


def advice(reason: str) -> str:
    """The next step that SageMaker's failure reason asks for."""
    return next((step for word, step in _ADVICE if word in reason), _RETRY)


def timed_out(about: FailedRun, limit: str, log_url: str) -> Failure:
    """The failure of a run that Airflow ended because it took too long; no task of it may run any more."""
    return Failure(
        schema_version=SCHEMA_VERSION,
        project=about.project,
        model=about.model,
        model_version=about.model_version,
        dag_id=about.dag_id,
        run_id=about.run_id,
        task_id="run",
        cause=f"The run took longer than {limit} and was ended. A SageMaker job it waits for goes on.",
        log_url=log_url,
        next_step="Look at the run in Airflow, stop its SageMaker job if it still runs, and start again.",
    )
