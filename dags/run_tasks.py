"""What both DAGs have in common: how tasks get their input, how they fail, and how a run reports.

Every task notes its exception (`note_failure`). `record_failure` runs as soon as a task failed: it finds the
cause, writes failure.json and words the message; after success the last task words it. The two notification
tasks send whichever there is: as teardowns they run in both cases, and never change the run's own result.
docs/airflow.md explains why it is done so.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.operators.sns import SnsPublishOperator
from airflow.providers.slack.operators.slack_webhook import SlackWebhookOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import BaseOperator, TriggerRule, task
from airflow.sdk.exceptions import AirflowSkipException
from slack_sdk.http_retry.builtin_handlers import RateLimitErrorRetryHandler, ServerErrorRetryHandler

if TYPE_CHECKING:
    from mlops.messages import Message
    from mlops.run_failure import Subject

Context = Mapping[str, Any]

# Seconds between two looks at a job or an endpoint.
CHECK_INTERVAL = float(os.environ.get("MLOPS_CHECK_INTERVAL", "15"))
# Whether a waiting task gives its worker back. A task that leaves and returns within a second or two can be back
# before the scheduler has seen it leave, and is then failed as a "state mismatch": short intervals keep theirs.
GIVE_WORKER_BACK = CHECK_INTERVAL >= 5
SLACK_CONNECTION = "slack"


def at_run_time(make: Callable[[Context], Any]) -> Any:
    """A template field's value, made from the context once the task runs."""

    @functools.wraps(make)
    def rendered(context: Context, jinja_env: object) -> Any:
        del jinja_env
        return make(context)

    return rendered


def note_failure(context: Context) -> None:
    """Callback of every task: only here is the exception known."""
    from mlops.decode import encode
    from mlops.run_failure import task_error

    instance = context["ti"]
    error = task_error(instance.task_id, context.get("exception"), instance.log_url)
    instance.xcom_push(key="failure", value=encode(error))


def note_undelivered(context: Context) -> None:
    """Callback of the notification tasks."""
    import logging

    logging.getLogger(__name__).error(
        "%s could not deliver the message. The result of the run stands: only this notification is missing.",
        context["ti"].task_id,
    )


# A person must act on MlopsError, which `final` never tries again; what is left may be a passing trouble.
TASK_DEFAULTS: dict[str, Any] = {
    "retries": 2,
    "retry_delay": timedelta(seconds=10),
    "on_failure_callback": note_failure,
}


def final(work: Callable[[], Any]) -> Any:
    """Do `work`; an MlopsError fails the task at once, since another try would end the same way."""
    from airflow.sdk.exceptions import AirflowFailException

    from mlops.errors import MlopsError

    try:
        return work()
    except MlopsError as error:
        raise AirflowFailException(str(error)) from error


def plan(context: Context) -> dict[str, Any]:
    """What `validate` returned; empty when it did not come that far."""
    return context["ti"].xcom_pull(task_ids="validate") or {}


def known(context: Context) -> dict[str, Any]:
    """The plan, or as much of it as can be found out again: settings, and the conf where it is valid."""
    from mlops.approval import NothingToDeploy, resolve
    from mlops.clients.aws import client
    from mlops.clients.storage import Storage
    from mlops.contract import ApprovalConf
    from mlops.decode import encode
    from mlops.errors import MlopsError
    from mlops.run_conf import read_conf
    from mlops.settings import read_settings

    found = plan(context)
    run = context["dag_run"]
    try:
        if not found:
            settings = read_settings(client("ssm"))
            found = {"settings": encode(settings)}
            storage = Storage(client("s3"))
            conf: Any = read_conf(run.dag_id, run.conf or {}, storage, settings)
            found["conf"] = encode(conf)
            if isinstance(conf, ApprovalConf):
                asked = resolve(conf, storage, settings, client("sagemaker"), whatever_state=True)
                found["conf"] = encode(asked.conf)
    except (MlopsError, NothingToDeploy):
        pass  # it is what `validate` failed of, and noted
    return found


def announcement(context: Context, message: Message) -> dict[str, Any]:
    """A message and where it goes, as XCom; everywhere, when the conf could not be read."""
    from mlops.decode import encode

    about = known(context)
    wanted = about.get("conf", {}).get("notifications", {})
    topic = about.get("settings", {}).get("topic_arn", "")
    return {
        "subject": message.subject,
        "body": message.body,
        "blocks": encode(message.blocks),
        "topic_arn": topic if wanted.get("email", True) else "",
        "slack": wanted.get("slack", True),
    }


@task(trigger_rule=TriggerRule.ONE_FAILED)
def record_failure(**context: Any) -> dict[str, Any]:
    """Find the real cause, keep it as failure.json for the CI job, and word the message."""
    from mlops.clients.aws import client
    from mlops.clients.storage import Storage
    from mlops.contract import Origin
    from mlops.decode import decode
    from mlops.messages import run_failed
    from mlops.run_failure import TaskError, explain, keep, stop_jobs

    instance = context["ti"]
    errors = []
    for name in _failed_tasks(context):
        # A task whose worker was lost noted nothing; its log is where ours is.
        lost = {"task_id": name, "log_url": instance.log_url.replace("/record_failure", f"/{name}")}
        noted = instance.xcom_pull(task_ids=name, key="failure")
        errors.append(decode(TaskError, noted or lost, name))
    about = _subject(context, [error.task_id for error in errors])
    failure = explain(about, errors, client("sagemaker"), client("logs"))
    stop_jobs(about.jobs, client("sagemaker"))
    keep(failure, about, Storage(client("s3")))
    return announcement(context, run_failed(failure, decode(Origin, about.origin, "conf.origin")))


def _failed_tasks(context: Context) -> list[str]:
    """The tasks of this run that failed by themselves, in the order of the DAG."""
    run = context["dag_run"]
    states = context["ti"].get_task_states(dag_id=run.dag_id, run_ids=[run.run_id])[run.run_id]
    return [one.task_id for one in context["dag"].topological_sort() if states.get(one.task_id) == "failed"]


def _subject(context: Context, tasks: list[str]) -> Subject:
    from mlops.run_failure import subject

    jobs = {name: context["ti"].xcom_pull(task_ids=name, key="job") for name in tasks}
    run = context["dag_run"]
    return subject(run.dag_id, run.run_id, run.conf or {}, known(context), jobs)


def announce_timeout(context: Context) -> None:
    """Callback of the DAG: Airflow ended a run that took too long, so none of its tasks can tell.

    Every other failure has a failed task, and is told by `record_failure`.
    """
    if context.get("reason") != "timed_out" or "ti" not in context:
        return
    from airflow.providers.amazon.aws.hooks.sns import SnsHook
    from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook

    from mlops.clients.aws import client
    from mlops.clients.storage import Storage
    from mlops.contract import Origin
    from mlops.decode import decode
    from mlops.messages import run_failed
    from mlops.run_failure import keep, timed_out

    about = _subject(context, [])
    failure = timed_out(about, str(context["dag"].dagrun_timeout), context["ti"].log_url)
    keep(failure, about, Storage(client("s3")))
    message = announcement(context, run_failed(failure, decode(Origin, about.origin, "conf.origin")))
    if message["topic_arn"]:
        SnsHook(aws_conn_id=None).publish_to_target(  # type: ignore[no-untyped-call]
            target_arn=message["topic_arn"], message=message["body"], subject=message["subject"]
        )
    if message["slack"]:
        SlackWebhookHook(slack_webhook_conn_id=SLACK_CONNECTION, retry_handlers=_slack_retries()).send(
            text=message["subject"], blocks=message["blocks"]
        )


def report(work: Sequence[Any], result_task: str) -> None:
    """Add to a DAG whose `work` ends with `result_task`: the record of a failure, the run's result, the messages.

    The run's result is `done`'s: it runs nothing, and does not come to pass where the work failed.
    """
    failure = record_failure()
    last = work[-1]
    last >> EmptyOperator(task_id="done")
    list(work) >> failure
    for channel in notifications(result_task):
        [last, failure] >> channel


def notifications(result_task: str) -> list[BaseOperator]:
    """The tasks that tell e-mail and Slack what `result_task` or `record_failure` has to say."""

    def told(context: Context) -> dict[str, Any]:
        pull = context["ti"].xcom_pull
        return pull(task_ids="record_failure") or pull(task_ids=result_task) or {}

    def part(name: str) -> Any:
        return at_run_time(lambda context: told(context).get(name, ""))

    def only_if(name: str) -> Callable[[Context], None]:
        def check(context: Context) -> None:
            if not told(context).get(name):
                raise AirflowSkipException("Nothing to say to this channel.")

        return check

    patient: dict[str, Any] = {
        "retries": 1,
        "retry_delay": timedelta(seconds=10),
        "on_failure_callback": note_undelivered,
    }
    email = SnsPublishOperator(
        task_id="notify_email",
        target_arn=part("topic_arn"),
        subject=part("subject"),
        message=part("body"),
        aws_conn_id=None,
        pre_execute=only_if("topic_arn"),
        **patient,
    )
    slack = SlackWebhookOperator(
        task_id="notify_slack",
        slack_webhook_conn_id=SLACK_CONNECTION,
        message=part("subject"),
        blocks=part("blocks"),
        timeout=10,
        retry_handlers=_slack_retries(),
        pre_execute=only_if("slack"),
        **patient,
    )
    return [email.as_teardown(), slack.as_teardown()]


def _slack_retries() -> list[Any]:
    """Wait as long as Slack's Retry-After says; try again after its 5xx."""
    return [RateLimitErrorRetryHandler(max_retry_count=3), ServerErrorRetryHandler(max_retry_count=3)]
