"""Compare what an endpoint was asked in a window with what its model was trained on; notify the channels of drift.

`conf` is `mlops.contracts.runs.MonitoringConf`. Drift is a result, not a failed run; the alarm on the metric `Drift` leads to
retraining where the model's mlops.yml wants that.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import task
from airflow.sdk.exceptions import AirflowSkipException

from mlops.contracts.runs import MONITORING_DAG
from run_tasks import (
    Context,
    announcement,
    fail_without_retry,
    model_dag,
    report,
    validated_plan,
)

if TYPE_CHECKING:
    from mlops.monitoring.tasks import MonitoringPlan

RUN_TIMEOUT = timedelta(hours=2)


def _plan(context: Context) -> MonitoringPlan:
    from mlops.base.strict_json import decode
    from mlops.monitoring.tasks import MonitoringPlan

    found = validated_plan(context)
    conf = {
        key: value for key, value in found["conf"].items() if key not in ("notifications", "evidence_uri")
    }
    return decode(MonitoringPlan, {**found, "conf": conf}, "validate")


@task
def validate(**context: Any) -> dict[str, Any]:
    """Check the conf; find what the endpoint serves, and what it is compared with."""
    from mlops.base.strict_json import encode
    from mlops.clients.aws.s3 import Storage
    from mlops.clients.aws.session import client
    from mlops.monitoring.tasks import prepare

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
    if found["skip"]:
        raise AirflowSkipException(f"{found['conf']['model']} is not monitored: {found['skip']}.")
    # As the other DAGs' conf has them: a message goes to the model's own channel, a failure's cause to S3.
    conf, bucket = found["conf"], found["settings"]["bucket"]
    evidence = f"s3://{bucket}/{conf['project']}/{conf['model']}/monitoring/"
    found["conf"] |= {"notifications": found["notifications"], "evidence_uri": evidence}
    return found


@task
def measure(**context: Any) -> dict[str, Any]:
    """Compare, keep the report, send the metrics; word the message where there is news."""
    from mlops.clients.aws.metrics import publish_drift
    from mlops.clients.aws.s3 import Storage
    from mlops.clients.aws.session import client
    from mlops.monitoring.tasks import conclude
    from mlops.monitoring.tasks import measure as compare
    from mlops.notifications.messages import drift_found, drift_table

    known = _plan(context)
    storage = Storage(client("s3"))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    found, news = fail_without_retry(lambda: compare(known, storage, now))
    print(drift_table(found))  # noqa: T201  # the task's log
    publish_drift(client("cloudwatch"), found)
    fail_without_retry(lambda: conclude(known, found, storage))
    return announcement(context, drift_found(found)) if news else {}


# Each run holds a sample in memory: mlops.monitoring.reservoir.
with model_dag(MONITORING_DAG, __doc__, RUN_TIMEOUT, active_tasks=4):
    validated = validate()
    measured = measure()
    validated >> measured
    report([validated, measured], "measure")
