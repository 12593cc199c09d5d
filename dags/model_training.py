"""Train a model version, register it, evaluate it beside the champion, publish the evidence, notify the channels.

`conf` is `mlops.contracts.runs.TrainingConf`. A failed gate is a result, not a failed run.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.operators.sagemaker import SageMakerModelOperator
from airflow.sdk import TriggerRule, task
from airflow.sdk.exceptions import AirflowSkipException

from mlops.contracts.runs import TRAINING_DAG
from run_tasks import (
    CHECK_INTERVAL,
    GIVE_WORKER_BACK,
    TRIES_LEFT,
    Context,
    announcement,
    at_run_time,
    fail_without_retry,
    model_dag,
    report,
    validated_plan,
)
from sagemaker_jobs import ProcessingJob, TrainingJob

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlops.clients.aws.sagemaker import JobKind
    from mlops.training.tasks import TrainingPlan

# SageMaker ends its jobs after the conf's limits; this ends a run that waits for something that never comes.
RUN_TIMEOUT = timedelta(days=7)

# A job that failed is not started again, since `sagemaker_jobs` fails its task for good: it would cost the same and end
# the same way. What else a task dies of is tried again, and the next try goes on with the job.
JOB: dict[str, Any] = {
    "aws_conn_id": None,
    "deferrable": GIVE_WORKER_BACK,
    "check_interval": CHECK_INTERVAL,
    "max_attempts": int(RUN_TIMEOUT.total_seconds() / CHECK_INTERVAL),
}


def _plan(context: Context) -> TrainingPlan:
    from mlops.base.strict_json import decode
    from mlops.training.tasks import TrainingPlan

    return decode(TrainingPlan, validated_plan(context), "validate")


def _trained(context: Context) -> dict[str, Any]:
    """DescribeTrainingJob's answer."""
    answer: dict[str, Any] = context["ti"].xcom_pull(task_ids="train")["Training"]
    return answer


def _started(context: Context, kind: JobKind, of_try: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    """The job of this try, or that of an earlier one which was lost with its worker or scheduler, not with its job.

    Its name is noted before it exists, so its failure can be explained whatever becomes of this task. A deferred task
    that resumes finds the note of its own try, and does not ask SageMaker.
    """
    from mlops.clients.aws.sagemaker import earlier_job
    from mlops.clients.aws.session import client

    instance = context["ti"]
    attempt = instance.try_number
    made, key = of_try(attempt), "TrainingJobName" if kind == "training" else "ProcessingJobName"
    noted = instance.xcom_pull(task_ids=instance.task_id, key="job")
    # Again when a deferred task resumes: `sagemaker_jobs` takes it back while it cannot look at the job.
    instance.xcom_push(key=TRIES_LEFT, value=attempt <= instance.max_tries)
    if noted:
        return {**made, key: noted["name"]}
    earlier = [of_try(number)[key] for number in range(1, attempt)]
    # What Airflow tries again by itself has one job, however that ended. A person who clears a task may want another:
    # Airflow raises `max_tries` by the task's retries then.
    own = earlier[max(instance.max_tries - context["task"].retries, 0) :]
    if earlier:
        made[key] = earlier_job(client("sagemaker"), kind, earlier, made["Environment"], own=own) or made[key]
    instance.xcom_push(key="job", value={"kind": kind, "name": made[key]})
    return made


@task
def validate(**context: Any) -> dict[str, Any]:
    """Check the conf, find champion and data."""
    from mlops.base.strict_json import encode
    from mlops.clients.aws.s3 import Storage
    from mlops.clients.aws.session import client
    from mlops.training.tasks import prepare

    run = context["dag_run"]
    found: dict[str, Any] = fail_without_retry(
        lambda: encode(
            prepare(
                run.conf or {},
                run.run_id,
                ssm=client("ssm"),
                storage=Storage(client("s3")),
                sagemaker=client("sagemaker"),
            )
        )
    )
    return found


def training_job(context: Context) -> dict[str, Any]:
    """The config of `train`, made when it runs."""
    from mlops.clients.aws.sagemaker_requests import training_job as request

    known = _plan(context)

    def of_try(attempt: int) -> dict[str, Any]:
        return request(
            known.conf,
            role=known.settings.execution_role_arn,
            fingerprint=known.fingerprint,
            run_id=known.run_id,
            attempt=attempt,
        )

    return _started(context, "training", of_try)


def check_model(_context: Context, result: dict[str, Any]) -> None:
    """A training that wrote no model has failed, whatever its exit code says."""
    from mlops.clients.aws.s3 import Storage
    from mlops.clients.aws.session import client
    from mlops.training.tasks import check_training

    fail_without_retry(lambda: check_training(result["Training"], Storage(client("s3"))))


def delete_stale_model(context: Context) -> None:
    """A model of this name is left from a try that failed later."""
    from mlops.clients.aws.session import client
    from mlops.training.tasks import delete_stale_model as clear

    clear(_plan(context), client("sagemaker"))


def model(context: Context) -> dict[str, Any]:
    """The config of `register`."""
    from mlops.clients.aws.sagemaker_requests import model as request

    known = _plan(context)
    return request(
        known.conf,
        role=known.settings.execution_role_arn,
        fingerprint=known.fingerprint,
        artifact=_trained(context)["ModelArtifacts"]["S3ModelArtifacts"],
    )


def evaluate_challenger_job(context: Context) -> dict[str, Any]:
    """The config of `evaluate_challenger`."""
    from mlops.clients.aws.sagemaker_requests import environment

    known = _plan(context)
    return _evaluation(
        context,
        "challenger",
        known.conf.image_uri,
        _trained(context)["ModelArtifacts"]["S3ModelArtifacts"],
        environment(known.conf, known.fingerprint),
    )


def evaluate_champion_job(context: Context) -> dict[str, Any]:
    """The config of `evaluate_champion`: its own image and model, on today's data."""
    champion = _plan(context).champion
    if champion is None:
        return {}
    return _evaluation(context, "champion", champion.image_uri, champion.artifact, champion.environment)


def _evaluation(
    context: Context, who: str, image_uri: str, artifact: str, variables: dict[str, str]
) -> dict[str, Any]:
    from mlops.clients.aws.sagemaker_requests import evaluation_job

    known = _plan(context)

    def of_try(attempt: int) -> dict[str, Any]:
        return evaluation_job(
            known.conf,
            who=who,
            image_uri=image_uri,
            artifact=artifact,
            variables=variables,
            role=known.settings.execution_role_arn,
            run_id=known.run_id,
            attempt=attempt,
        )

    return _started(context, "processing", of_try)


def only_with_champion(context: Context) -> None:
    """Skip the champion's evaluation where nothing was deployed."""
    if _plan(context).champion is None:
        raise AirflowSkipException("Nothing is in production yet.")


@task(trigger_rule=TriggerRule.NONE_FAILED)
def compare(**context: Any) -> dict[str, Any]:
    """Compare, decide the gate, publish the evidence, word the message."""
    from datetime import UTC, datetime

    from mlops.clients.aws.metrics import publish as publish_metrics
    from mlops.clients.aws.s3 import Storage
    from mlops.clients.aws.session import client
    from mlops.evaluation.tasks import judge
    from mlops.notifications.messages import training_finished
    from mlops.training.tasks import publish

    known, storage = _plan(context), Storage(client("s3"))
    champion = known.champion.version if known.champion else None
    now = datetime.now(UTC).isoformat(timespec="seconds")
    comparison = fail_without_retry(lambda: judge(known.conf, champion, storage, now))
    origins = fail_without_retry(lambda: publish(known, comparison, _trained(context), storage))
    publish_metrics(client("cloudwatch"), comparison)
    return announcement(context, training_finished(known.conf, comparison, origins))


@task
def register_package(**context: Any) -> str | None:
    """Put the version into the model registry, where people approve what is deployed."""
    from mlops.clients.aws.s3 import Storage
    from mlops.clients.aws.session import client
    from mlops.contracts.evidence import COMPARISON, Comparison
    from mlops.deployment.approval import register as register_version

    known, storage = _plan(context), Storage(client("s3"))
    arn: str | None = fail_without_retry(
        lambda: register_version(
            known.conf,
            storage.read_record(Comparison, known.conf.evidence_uri + COMPARISON),
            artifact=_trained(context)["ModelArtifacts"]["S3ModelArtifacts"],
            fingerprint=known.fingerprint,
            run_id=known.run_id,
            storage=storage,
            sagemaker=client("sagemaker"),
        )
    )
    return arn


with model_dag(TRAINING_DAG, __doc__, RUN_TIMEOUT):
    validated = validate()
    train = TrainingJob(task_id="train", config=at_run_time(training_job), post_execute=check_model, **JOB)
    register = SageMakerModelOperator(
        task_id="register", config=at_run_time(model), aws_conn_id=None, pre_execute=delete_stale_model
    )
    evaluate_challenger = ProcessingJob(
        task_id="evaluate_challenger", config=at_run_time(evaluate_challenger_job), **JOB
    )
    evaluate_champion = ProcessingJob(
        task_id="evaluate_champion",
        config=at_run_time(evaluate_champion_job),
        pre_execute=only_with_champion,
        **JOB,
    )
    compared = compare()
    packaged = register_package()

    evaluations = [evaluate_challenger, evaluate_champion]
    validated >> train >> register >> evaluations >> compared >> packaged
    report([validated, train, register, *evaluations, compared, packaged], "compare")
