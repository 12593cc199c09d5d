"""Tell a model's channel of a failure that no other run and no job tells of.

`conf` is `mlops.contracts.runs.NoticeConf`: the Lambda makes it of an event, such as a training job that failed and no
run waits for, or an endpoint that came back from somebody else's update.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task

from mlops.contracts.runs import NOTICE_DAG
from run_tasks import TASK_DEFAULTS, announce_timeout, announcement, fail_without_retry, report

RUN_TIMEOUT = timedelta(hours=1)


@task
def validate(**context: Any) -> dict[str, Any]:
    """Check the conf."""
    from mlops.base.strict_json import encode
    from mlops.clients.aws.s3 import Storage
    from mlops.clients.aws.session import client
    from mlops.contracts.platform_settings import read_settings
    from mlops.runs.conf import read_conf

    def check() -> dict[str, Any]:
        settings = read_settings(client("ssm"))
        run = context["dag_run"]
        conf = read_conf(run.dag_id, run.conf or {}, Storage(client("s3")), settings)
        return {"settings": encode(settings), "conf": encode(conf)}

    found: dict[str, Any] = fail_without_retry(check)
    return found


@task
def word(**context: Any) -> dict[str, Any]:
    """Word the message: told once, however often the event comes and whatever else tells the same."""
    from mlops.base.strict_json import decode
    from mlops.contracts.runs import NoticeConf
    from mlops.notifications.messages import noticed

    conf = decode(NoticeConf, context["ti"].xcom_pull(task_ids="validate")["conf"], "conf")
    return announcement(context, noticed(conf), conf)


with DAG(
    NOTICE_DAG,
    description=__doc__,
    schedule=None,
    max_active_runs=100,
    max_active_tasks=100,
    dagrun_timeout=RUN_TIMEOUT,
    default_args=TASK_DEFAULTS,
    on_failure_callback=announce_timeout,
    tags=["ml-ops"],
):
    validated = validate()
    worded = word()

    validated >> worded
    report([validated, worded], "word")
