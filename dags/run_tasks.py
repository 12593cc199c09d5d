"""What all DAGs have in common: how tasks get their input, how they fail, and how a run reports.

Every task notes its exception (`note_failure`). `record_failure` runs as soon as a task failed: it finds the
cause, writes failure.json and words the message; after success the last task words it. The two notification
tasks send whichever there is: as teardowns they run in both cases, and never change the run's own result.
`mlops.notifications.delivery_log` keeps them from sending again what an earlier try or a CI job has sent.
docs/reference/dags.md explains why it is done so.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.amazon.aws.operators.sns import SnsPublishOperator
from airflow.providers.slack.operators.slack_webhook import SlackWebhookOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, BaseOperator, TriggerRule, conf, task
from airflow.sdk.exceptions import AirflowSkipException
from slack_sdk.http_retry.builtin_handlers import RateLimitErrorRetryHandler, ServerErrorRetryHandler

if TYPE_CHECKING:
    from mlops.contracts.evidence import Failure
    from mlops.contracts.message import Message
    from mlops.contracts.runs import NoticeConf
    from mlops.notifications.delivery_log import Way
    from mlops.notifications.failure_cause import FailedRun
    from mlops.notifications.run_notifier import Announcement, RunNotifier

Context = Mapping[str, Any]

# Seconds between two looks at a job or an endpoint: an option of Airflow's own configuration, which MWAA can set.
CHECK_INTERVAL = conf.getfloat("mlops", "check_interval", fallback=15.0)
# Whether a waiting task gives its worker back. A task that leaves and returns within a second or two can be back
# before the scheduler has seen it leave, and is then failed as a "state mismatch": short intervals keep theirs.
GIVE_WORKER_BACK = CHECK_INTERVAL >= 5
# The XCom that says whether Airflow would try a job's task again: one that fails without a word all the same was failed
# by a person (`record_failure`).
TRIES_LEFT = "tries_left"
# The XCom of `validate` that has a message although there is nothing to do.
ANNOUNCEMENT = "announcement"
# Where a task's context keeps what it has asked Airflow for.
PULLED = "mlops_pulled"
# Slack may ask for a wait of hours, which would keep a worker for as long.
PATIENCE = timedelta(minutes=10)


def at_run_time(make: Callable[[Context], Any]) -> Any:
    """A template field's value, made from the context once the task runs."""

    @functools.wraps(make)
    def rendered(context: Context, jinja_env: object) -> Any:
        del jinja_env
        return make(context)

    return rendered


def note_failure(context: Context) -> None:
    """Callback of every task: only here is the exception known."""
    from mlops.base.strict_json import encode
    from mlops.notifications.failure_cause import task_error

    instance = context["ti"]
    error = task_error(instance.task_id, context.get("exception"), instance.log_url)
    instance.xcom_push(key="failure", value=encode(error))


# A person must act on MlopsError, which `fail_without_retry` does not try again; what is left may be a passing trouble, so it is
# given minutes: 10 to 20 seconds before the second try, twice as long before each that follows.
TASK_DEFAULTS: dict[str, Any] = {
    "retries": 4,
    "retry_delay": timedelta(seconds=10),
    "retry_exponential_backoff": 2,
    "on_failure_callback": note_failure,
}


def fail_without_retry(work: Callable[[], Any]) -> Any:
    """Do `work`; an MlopsError fails the task at once, since another try would end the same way.

    Not one that says that AWS could not be asked: that is tried again.
    """
    from airflow.sdk.exceptions import AirflowFailException

    from mlops.base.errors import MlopsError

    try:
        return work()
    except MlopsError as error:
        from mlops.clients.aws.session import passing

        if passing(error):
            raise
        raise AirflowFailException(str(error)) from error


def seen(look: Callable[[], bool]) -> bool:
    """What a sensor sees; False if AWS cannot be asked now, so that it looks again until its own time-out."""
    try:
        return look()
    except Exception as error:
        # Here, so that these DAGs work on the wheel before them, which lacks it, while nothing fails.
        from mlops.clients.aws.session import passing

        if not passing(error):
            raise
        logging.getLogger(__name__).warning("AWS cannot be asked now: %s", error)
        return False


def pulled(context: Context, task_id: str, **key: str) -> Any:
    """What a task before this one returned, or noted as `key`: asked for once, though each template needs it."""
    known = cast("dict[str, Any]", context).setdefault(PULLED, {})
    asked = task_id, key.get("key")
    if asked not in known:
        known[asked] = context["ti"].xcom_pull(task_ids=task_id, **key)
    return known[asked]


def validated_plan(context: Context) -> dict[str, Any]:
    """What `validate` returned; empty when it did not come that far."""
    return pulled(context, "validate") or {}


def plan_or_best_guess(context: Context) -> dict[str, Any]:
    """The plan, or as much of it as can be found out again: settings, and the conf where it is valid."""
    from mlops.base.errors import MlopsError
    from mlops.base.strict_json import encode
    from mlops.clients.aws.parameter_store import read_settings
    from mlops.clients.aws.s3 import Storage
    from mlops.clients.aws.session import client
    from mlops.contracts.runs import ApprovalConf
    from mlops.deployment.approval import NothingToDeploy, resolve
    from mlops.runs.conf import read_conf

    found = validated_plan(context)
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


def announcement(
    context: Context, message: Message, failure: Failure | NoticeConf | None = None
) -> dict[str, Any]:
    """A message and where it goes, as XCom; `failure` is what it is about, and None for a result."""
    from mlops.base.strict_json import encode

    found = notifier_of(context).announce(message, plan_or_best_guess(context), failure)
    return encode(found) if found else {}


def notifier_of(context: Context) -> RunNotifier:
    """The notifier of this DAG run."""
    from mlops.clients.aws.s3 import Storage
    from mlops.clients.aws.session import client
    from mlops.notifications.run_notifier import RunNotifier

    run = context["dag_run"]
    return RunNotifier(dag_id=run.dag_id, run_id=run.run_id, storage=Storage(client("s3")))


@task(trigger_rule=TriggerRule.ONE_FAILED)
def record_failure(**context: Any) -> dict[str, Any]:
    """Find the real cause, keep it as failure.json for the CI job, and word the message."""
    from mlops.base.strict_json import decode
    from mlops.clients.aws.s3 import Storage
    from mlops.clients.aws.session import client
    from mlops.contracts.runs import Origin
    from mlops.notifications.failure_cause import TaskError, explain, keep, stop_jobs
    from mlops.notifications.messages import run_failed

    instance = context["ti"]
    errors, ended = [], set()
    for name in _failed_tasks(context):
        # A task whose worker was lost noted nothing; its log is where ours is.
        lost = {"task_id": name, "log_url": instance.log_url.replace("/record_failure", f"/{name}")}
        noted = instance.xcom_pull(task_ids=name, key="failure")
        if not noted and instance.xcom_pull(task_ids=name, key=TRIES_LEFT):
            # Airflow would have tried again.
            lost["what"] = "The task was marked as failed in Airflow, while it ran or waited."
            ended.add(name)
        errors.append(decode(TaskError, noted or lost, name))
    about = _subject(context, [error.task_id for error in errors])
    stop_jobs({name: job for name, job in about.jobs.items() if name in ended}, client("sagemaker"))
    failure = explain(about, errors, client("sagemaker"), client("logs"))
    keep(failure, about, Storage(client("s3")))
    message = run_failed(failure, decode(Origin, about.origin, "conf.origin"))
    return announcement(context, message, failure)


def _failed_tasks(context: Context) -> list[str]:
    """The tasks of this run that failed by themselves, in the order of the DAG."""
    run = context["dag_run"]
    states = context["ti"].get_task_states(dag_id=run.dag_id, run_ids=[run.run_id])[run.run_id]
    return [one.task_id for one in context["dag"].topological_sort() if states.get(one.task_id) == "failed"]


def _subject(context: Context, tasks: list[str]) -> FailedRun:
    from mlops.notifications.failure_cause import subject

    jobs = {name: context["ti"].xcom_pull(task_ids=name, key="job") for name in tasks}
    run = context["dag_run"]
    return subject(run.dag_id, run.run_id, run.conf or {}, plan_or_best_guess(context), jobs)


def announce_timeout(context: Context) -> None:
    """Callback of the DAG: Airflow ended a run that took too long, so none of its tasks can report it.

    Every other failure has a failed task, and is reported by `record_failure`.
    """
    if context.get("reason") != "timed_out" or "ti" not in context:
        return
    from airflow.providers.amazon.aws.hooks.sns import SnsHook
    from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook

    from mlops.base.strict_json import decode
    from mlops.clients.aws.s3 import Storage
    from mlops.clients.aws.session import client
    from mlops.contracts.runs import Origin
    from mlops.notifications.failure_cause import keep, timed_out
    from mlops.notifications.messages import run_failed

    about = _subject(context, [])
    failure = timed_out(about, str(context["dag"].dagrun_timeout), context["ti"].log_url)
    keep(failure, about, Storage(client("s3")))
    run = notifier_of(context)
    message = run_failed(failure, decode(Origin, about.origin, "conf.origin"))
    found = run.announce(message, plan_or_best_guess(context), failure)
    if not found:
        return

    def to_email() -> None:
        SnsHook(aws_conn_id=None).publish_to_target(  # type: ignore[no-untyped-call]
            target_arn=found.topic_arn, message=found.body, subject=found.subject
        )

    def to_slack() -> None:
        SlackWebhookHook(slack_webhook_conn_id=found.slack, retry_handlers=_slack_retries()).send(
            text=found.subject, blocks=list(found.blocks)
        )

    ways: tuple[tuple[Way, Callable[[], None]], ...] = (("email", to_email), ("slack", to_slack))
    for way, send in ways:
        if not run.claim(found, way):
            continue
        try:
            send()
        except Exception:  # pylint: disable=broad-exception-caught  # it must not keep the other way back
            logging.getLogger(__name__).exception("The time-out could not be sent by %s", way)
            run.refused(found, way)
        else:
            run.sent(found, way)


def model_dag(dag_id: str, about: str | None, timeout: timedelta, *, active_tasks: int = 100) -> DAG:
    """A DAG of models, which only the Lambda or another DAG starts.

    Args:
        dag_id: Its name.
        about: What Airflow shows as its description.
        timeout: A run that takes longer is ended by Airflow, and reported.
        active_tasks: How many tasks of all its runs may run at once.
    """
    return DAG(
        dag_id,
        description=about,
        schedule=None,
        max_active_runs=100,
        max_active_tasks=active_tasks,
        dagrun_timeout=timeout,
        default_args=TASK_DEFAULTS,
        on_failure_callback=announce_timeout,
        tags=["ml-ops"],
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


class SlackMessage(SlackWebhookOperator):
    """The provider's; which connection it takes is known when it runs."""

    template_fields = (*SlackWebhookOperator.template_fields, "slack_webhook_conn_id")


def notifications(result_task: str) -> list[BaseOperator]:
    """The tasks that send by e-mail and Slack what `result_task` or `record_failure` has to say."""

    def to_send(context: Context) -> Announcement | None:
        from mlops.base.strict_json import decode
        from mlops.notifications.run_notifier import Announcement

        found = (
            pulled(context, "record_failure")
            or pulled(context, result_task)
            or pulled(context, "validate", key=ANNOUNCEMENT)
        )
        return decode(Announcement, found, "announcement") if found else None

    def part(name: str) -> Any:
        return at_run_time(lambda context: getattr(to_send(context), name, ""))

    def patient(way: Way) -> dict[str, Any]:
        def claim(context: Context) -> None:
            if way == "email" and not _failed_tasks(context):
                notifier_of(context).settle(plan_or_best_guess(context))
            found = to_send(context)
            if found is None or not notifier_of(context).claim(found, way):
                raise AirflowSkipException("Nothing to say here, or it has been said.")

        def note_delivered(context: Context, _result: object) -> None:
            if found := to_send(context):
                notifier_of(context).sent(found, way)

        def note_undelivered(context: Context) -> None:
            logging.getLogger(__name__).error(
                "%s could not deliver the message. The result of the run stands: only this notification "
                "is missing.",
                context["ti"].task_id,
            )
            if found := to_send(context):
                notifier_of(context).refused(found, way)

        return {
            "retries": 1,
            "retry_delay": timedelta(seconds=10),
            "execution_timeout": PATIENCE,
            "pre_execute": claim,
            "post_execute": note_delivered,
            "on_failure_callback": note_undelivered,
        }

    email = SnsPublishOperator(
        task_id="notify_email",
        target_arn=part("topic_arn"),
        subject=part("subject"),
        message=part("body"),
        aws_conn_id=None,
        **patient("email"),
    )
    slack = SlackMessage(
        task_id="notify_slack",
        slack_webhook_conn_id=part("slack"),
        message=part("subject"),
        blocks=at_run_time(lambda context: list(getattr(to_send(context), "blocks", ()))),
        timeout=10,
        retry_handlers=_slack_retries(),
        **patient("slack"),
    )
    return [email.as_teardown(), slack.as_teardown()]


def _slack_retries() -> list[Any]:
    """Wait as long as Slack's Retry-After says; try again after its 5xx."""
    return [RateLimitErrorRetryHandler(max_retry_count=3), ServerErrorRetryHandler(max_retry_count=3)]
