"""Put an evaluated model version into production, see that it answers, notify the channels.

`conf` is `mlops.contracts.runs.DeploymentConf`, or `ApprovalConf` where somebody approved it in the model registry.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.operators.sagemaker import SageMakerEndpointConfigOperator
from airflow.providers.amazon.aws.sensors.sagemaker import SageMakerEndpointSensor
from airflow.sdk import TriggerRule, task
from airflow.sdk.exceptions import AirflowSkipException

from mlops.contracts.runs import DEPLOYMENT_DAG
from run_tasks import (
    ANNOUNCEMENT,
    CHECK_INTERVAL,
    GIVE_WORKER_BACK,
    Context,
    announcement,
    at_run_time,
    fail_without_retry,
    model_dag,
    report,
    seen,
    validated_plan,
)

if TYPE_CHECKING:
    from mlops.deployment.tasks import DeploymentPlan

RUN_TIMEOUT = timedelta(hours=5)
# Two changes of an endpoint take less.
TURN_TIMEOUT = timedelta(hours=2)


def _plan(context: Context) -> DeploymentPlan:
    from mlops.base.strict_json import decode
    from mlops.deployment.tasks import DeploymentPlan

    return decode(DeploymentPlan, validated_plan(context), "validate")


@task.sensor(
    poke_interval=CHECK_INTERVAL,
    timeout=TURN_TIMEOUT.total_seconds(),
    mode="reschedule" if GIVE_WORKER_BACK else "poke",
)
def wait_for_turn(**context: Any) -> bool:
    """An approval waits while the endpoint is changing; a deploy job is refused."""
    from mlops.clients.aws.session import client
    from mlops.deployment.tasks import is_busy

    return seen(lambda: not is_busy(context["dag_run"].conf or {}, client("sagemaker")))


@task
def validate(**context: Any) -> dict[str, Any]:
    """Check conf, evidence and model; name the endpoint configuration."""
    from mlops.base.strict_json import encode
    from mlops.clients.aws.s3 import Storage
    from mlops.clients.aws.session import client
    from mlops.deployment.approval import NothingToDeploy
    from mlops.deployment.tasks import prepare

    run = context["dag_run"]
    try:
        found: dict[str, Any] = fail_without_retry(
            lambda: encode(
                prepare(
                    run.conf or {},
                    run.run_id,
                    datetime.now(UTC).isoformat(timespec="seconds"),
                    ssm=client("ssm"),
                    storage=Storage(client("s3")),
                    sagemaker=client("sagemaker"),
                )
            )
        )
    except NothingToDeploy as result:
        # Looked for in this way, so that these DAGs work on the wheel before them: MWAA has files within minutes.
        approval = getattr(result, "approval", None)
        if approval is not None:  # overtaken: who approved it waits for it
            from mlops.notifications.messages import approval_overtaken

            message = approval_overtaken(approval.conf, approval.words, str(result))
            context["ti"].xcom_push(key=ANNOUNCEMENT, value=announcement(context, message))
        raise AirflowSkipException(str(result)) from result
    return found


def endpoint_config(context: Context) -> dict[str, Any]:
    """The config of `endpoint_config`, made by `validate`."""
    return _plan(context).endpoint_config


def only_if_new(context: Context) -> None:
    """Configurations never change: one that is there is taken as it is."""
    from mlops.clients.aws.sagemaker import describe_endpoint_config
    from mlops.clients.aws.session import client

    name = _plan(context).endpoint_config["EndpointConfigName"]
    # Asked again, since an earlier try of this task may have made it.
    if describe_endpoint_config(client("sagemaker"), name) is not None:
        raise AirflowSkipException("This configuration exists already.")


# Runs if `endpoint_config` was skipped (it existed), not if `validate` was (nothing to do).
@task(trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS)
def change_endpoint(**context: Any) -> bool:
    """Create or update the endpoint. No operator: the provider's drops tags and cannot repeat itself.

    False when another run did it, and will report it.
    """
    from mlops.clients.aws.session import client
    from mlops.deployment.tasks import put_endpoint

    changed: bool = fail_without_retry(lambda: put_endpoint(_plan(context), client("sagemaker")))
    return changed or context["ti"].try_number > 1  # the first try may have changed it


@task
def confirm(**context: Any) -> dict[str, Any]:
    """See that the endpoint serves this configuration and model; word the message."""
    from mlops.clients.aws.session import client
    from mlops.deployment import approval
    from mlops.deployment.tasks import confirm as check
    from mlops.notifications.messages import deployed

    known = _plan(context)
    answer = fail_without_retry(lambda: check(known, client("sagemaker"), client("sagemaker-runtime")))
    if not known.approval:
        approval.deployed(known.conf, known.run_id, client("sagemaker"))
    elif not context["ti"].xcom_pull(task_ids="change_endpoint"):
        return {}
    message = deployed(
        known.conf,
        endpoint_config=known.endpoint_config["EndpointConfigName"],
        replaced=known.before.version if known.before else None,
        answer=answer,
        approval=known.approval,
    )
    return announcement(context, message)


class EndpointEnd(SageMakerEndpointSensor):
    """The provider's; but it outlives a look that fails, and leaves a failed endpoint to `confirm`, which explains it."""

    def poke(self, context: Context) -> bool:
        """Whether the endpoint is in a state that does not change by itself."""
        return seen(lambda: bool(super(EndpointEnd, self).poke(context)))  # type: ignore[arg-type]

    def failed_states(self) -> set[str]:
        """None."""
        return set()


with model_dag(DEPLOYMENT_DAG, __doc__, RUN_TIMEOUT):
    waited = wait_for_turn()
    validated = validate()
    configured = SageMakerEndpointConfigOperator(
        task_id="endpoint_config",
        config=at_run_time(endpoint_config),
        aws_conn_id=None,
        pre_execute=only_if_new,
    )
    changed = change_endpoint()
    # Ends on every state that does not change by itself, a rollback and UpdateRollbackFailed too: `confirm` keeps
    # them apart.
    ready = EndpointEnd(  # type: ignore[no-untyped-call]
        task_id="wait_for_endpoint",
        endpoint_name="{{ ti.xcom_pull(task_ids='validate')['conf']['deployment']['endpoint_name'] }}",
        aws_conn_id=None,
        mode="reschedule" if GIVE_WORKER_BACK else "poke",
        poke_interval=CHECK_INTERVAL,
        timeout=2 * 3600,
    )
    confirmed = confirm()

    waited >> validated >> configured >> changed >> ready >> confirmed
    validated >> changed
    report([waited, validated, configured, changed, ready, confirmed], "confirm")
