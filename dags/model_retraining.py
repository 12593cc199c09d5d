"""Look whether a model is due to be trained again, and have `model_training` do it.

`conf` is `mlops.contracts.runs.RetrainingConf`: an event asks, such as a drift alarm or new data. `mlops retrain` decides
the same way in pipelines of schedules, and meets this DAG in the same run of `model_training`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import task
from airflow.sdk.exceptions import AirflowSkipException

from mlops.contracts.runs import RETRAINING_DAG, TRAINING_DAG
from run_tasks import (
    Context,
    at_run_time,
    fail_without_retry,
    model_dag,
    report,
    validated_plan,
)

if TYPE_CHECKING:
    from mlops.training.retraining_tasks import RetrainingPlan

RUN_TIMEOUT = timedelta(hours=1)


@task
def validate(**context: Any) -> dict[str, Any]:
    """Decide. What is not due is skipped, with the reason in the log."""
    from mlops.base.strict_json import encode
    from mlops.clients.aws.alarms import DriftAlarms
    from mlops.clients.aws.s3 import Storage
    from mlops.clients.aws.session import client
    from mlops.training.retraining_tasks import prepare

    decided: RetrainingPlan = fail_without_retry(
        lambda: prepare(
            context["dag_run"].conf or {},
            ssm=client("ssm"),
            storage=Storage(client("s3")),
            sagemaker=client("sagemaker"),
            alarms=lambda project: DriftAlarms(client("cloudwatch"), project),
            state_of=lambda run_id: _state_of(context, run_id),
        )
    )
    if decided.training is None:
        raise AirflowSkipException(f"{decided.conf.model} is not due: {decided.why}.")
    print(f"{decided.conf.model} is due: {decided.why}. Its training is run {decided.training_run}.")  # noqa: T201
    found: dict[str, Any] = encode(decided)
    # As the other DAGs' conf has them: a message goes to the model's own channel, a failure's cause to S3.
    place = f"s3://{decided.settings.bucket}/{decided.conf.project}/{decided.conf.model}/retraining/"
    found["conf"] |= {"notifications": found["notifications"], "evidence_uri": place}
    return found


def _state_of(context: Context, run_id: str) -> str:
    """Of a run of `model_training`; empty if there is none."""
    instance = context["ti"]
    if not instance.get_dr_count(dag_id=TRAINING_DAG, run_ids=[run_id]):
        return ""
    state = instance.get_dagrun_state(dag_id=TRAINING_DAG, run_id=run_id)
    return str(getattr(state, "value", state))  # an enum, whatever its type says


def training_run(context: Context) -> str:
    """The id of the training of this version, the same for every caller."""
    return str(validated_plan(context)["training_run"])


def training_conf(context: Context) -> dict[str, Any]:
    """The conf of `train`, made by `validate`."""
    made: dict[str, Any] = validated_plan(context)["training"]
    return made


def only_if_new(context: Context) -> None:
    """Another run or pipeline started it: a run under way is left alone."""
    if not validated_plan(context)["starts"]:
        raise AirflowSkipException(f"Run {training_run(context)} is under way, or done.")


with model_dag(RETRAINING_DAG, __doc__, RUN_TIMEOUT):
    validated = validate()
    train = TriggerDagRunOperator(
        task_id="train",
        trigger_dag_id=TRAINING_DAG,
        trigger_run_id=at_run_time(training_run),
        conf=at_run_time(training_conf),
        logical_date=None,
        # Two who decide at once meet in one run, and so does a retry of this task.
        skip_when_already_exists=True,
        openlineage_inject_parent_info=False,
        pre_execute=only_if_new,
    )
    validated >> train
    report([validated, train], "train")
