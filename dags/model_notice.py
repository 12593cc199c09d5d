"""Notify a model's channel of a failure that no other run and no job reports.

`conf` is `mlops.contracts.runs.NoticeConf`: the Lambda makes it of an event, such as a training job that failed and no
run waits for, or an endpoint that came back from somebody else's update.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import task

from mlops.contracts.runs import NOTICE_DAG
from run_tasks import announcement, fail_without_retry, model_dag, report

RUN_TIMEOUT = timedelta(hours=1)


@task
def validate(**context: Any) -> dict[str, Any]:
    """Check the conf."""
    from mlops.base.strict_json import encode
    from mlops.clients.aws.parameter_store import read_settings
    from mlops.clients.aws.s3 import Storage
    from mlops.clients.aws.session import client
    from mlops.runs.conf import read_conf

    def check() -> dict[str, Any]:
        settings = read_settings(client("ssm"))
        run = context["dag_run"]
        conf = read_conf(run.dag_id, run.conf or {}, Storage(client("s3")), settings)
        return {"settings": encode(settings), "conf": encode(conf)}

    found: dict[str, Any] = fail_without_retry(check)
    return found


@task
def compose_message(**context: Any) -> dict[str, Any]:
    """Compose the message: sent once, however often the event comes and whatever else reports the same."""
    from mlops.base.strict_json import decode
    from mlops.contracts.runs import NoticeConf
    from mlops.notifications.messages import noticed

    conf = decode(NoticeConf, context["ti"].xcom_pull(task_ids="validate")["conf"], "conf")
    return announcement(context, noticed(conf), conf)


with model_dag(NOTICE_DAG, __doc__, RUN_TIMEOUT):
    validated = validate()
    composed = compose_message()

    validated >> composed
    report([validated, composed], "compose_message")
