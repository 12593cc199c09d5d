"""`mlops notify`: notify a model's channel which job of the pipeline failed, and why, once.

A failed run of Airflow makes the job fail that waits for it. Both report it by the same identity, so the
delivery log lets only the first of them.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mlops.base import console
from mlops.base.errors import GitLabError, MlopsError, NotificationError
from mlops.base.result import Outcome
from mlops.contracts.locations import evidence_uri
from mlops.contracts.message import Message
from mlops.contracts.platform_settings import DEFAULT_CHANNEL
from mlops.contracts.runs import Notifications
from mlops.contracts.versions import ModelVersion
from mlops.notifications import delivery_log, messages
from mlops.notifications.delivery_log import DeliveryLog, Way, identity_of
from mlops.runs import airflow_runs

if TYPE_CHECKING:
    from mlops.ci.pipeline import Pipeline
    from mlops.clients.gitlab.project import FailedJob
    from mlops.contracts.evidence import Failure
    from mlops.contracts.platform_settings import PlatformSettings

# A broken runner can fail every job at once; Slack takes one message a second.
_JOB_LIMIT = 5
# Which run's failure makes which job fail: its dotenv variable, by the job's name without its prefix.
_RUN_OF_JOB = {"evaluate": "DAG_RUN_ID", "deploy": "DEPLOYMENT_RUN_ID"}
# The templates' jobs: with a prefix that is not ours, they are another model's.
_STAGES = frozenset(
    {"lint", "test", "fetch", "containerize", "train", "evaluate", "deploy", "retrain", "notify"}
)


class Jobs(Protocol):
    """What is needed of `clients.gitlab.GitLabProject`."""

    def failed_jobs(self, pipeline_id: str) -> list[FailedJob]: ...

    def end_of_log(self, job_id: int) -> str: ...


@dataclass(frozen=True)
class Route:
    """One way to the people of a channel; `send` raises NotificationError."""

    name: str
    way: Way
    send: Callable[[Message], None]
    channel: str = DEFAULT_CHANNEL


@dataclass(frozen=True, kw_only=True)
class ReportedPipeline:
    """What the pipeline is about; `failures` are those of its runs, by the job that waits for the run."""

    project: str
    model: str
    pipeline: Pipeline
    prefix: str = ""
    """Of the model's jobs."""
    failures: Mapping[str, Failure] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Story:
    """One message to send."""

    message: Message
    identity: str
    deliveries: DeliveryLog


@dataclass(frozen=True, kw_only=True)
class _About:
    """What the manifest says, as far as it can be read."""

    project: str
    model: str
    notifications: Notifications


def run(arguments: argparse.Namespace) -> Outcome:
    """Send, or test the channels.

    Raises:
        NotificationError: naming the channels that did not take a message.
        MlopsError: of other kinds, when the platform's settings cannot be read.
    """
    from mlops.ci.pipeline import Pipeline
    from mlops.clients.aws.parameter_store import read_settings
    from mlops.clients.aws.s3 import Storage
    from mlops.clients.aws.session import client, explained
    from mlops.clients.gitlab.project import connect

    pipeline = Pipeline.from_environment(os.environ)
    with explained():
        settings = read_settings(client("ssm"))
        if arguments.test:
            return check_channels(_all_channels(settings, arguments), pipeline)
        about = _about(arguments)
        storage = Storage(client("s3"))
        subject = ReportedPipeline(
            project=about.project,
            model=about.model,
            pipeline=pipeline,
            prefix=arguments.job_prefix,
            failures=_failures(about, settings.bucket, os.environ, storage),
        )

        def records(model: str) -> DeliveryLog:
            folder = delivery_log.folder_of(settings.bucket, about.project, model) if about.project else ""
            return DeliveryLog(storage, folder, f"pipeline {pipeline.project_id}/{pipeline.pipeline_id}")

        channels = _channels(settings, about.notifications)
        return notify(subject, channels, connect(), records)


def notify(
    subject: ReportedPipeline,
    channels: Sequence[Route],
    jobs: Jobs | None,
    records: Callable[[str], DeliveryLog],
) -> Outcome:
    """Announce the pipeline's failed jobs. Without a project token the pipeline is all that can be named.

    Args:
        subject: What the pipeline is about.
        channels: Who hears of it.
        jobs: GitLab, where it may be asked.
        records: The delivery log of a model; that of the project's shared jobs for an empty name.

    Raises:
        NotificationError: when a channel did not take a message; the others have it.
    """
    failed = _failed(subject, jobs)
    names = [job.name for job in failed] if failed is not None else []
    if failed == []:
        return _nothing("No job of this model failed: nothing to send", names)
    if not channels:
        return _nothing("mlops.yml switches off all channels: nothing sent", names)
    stories = _stories(subject, failed, jobs, records)
    sent, results = _send(stories, channels)
    _raise_refusals(results)
    if not sent:
        return _nothing("This failure has been reported already: nothing to send", names)
    return Outcome(
        summary="Notified " + " and ".join(results) + f": {'; '.join(sent)}",
        data={"jobs": names, "sent": sent, "channels": _words(results)},
    )


def check_channels(channels: Sequence[Route], pipeline: Pipeline) -> Outcome:
    """Send a test message to every one of the channels and say how each did.

    Raises:
        NotificationError: when one did not take it.
    """
    results: dict[str, NotificationError | None] = {}
    for channel in channels:
        results[channel.name] = _refusal(channel, messages.channel_test(pipeline.origin))
    for name, refusal in results.items():
        console.say(f"{'✗' if refusal else '✓'} {name}{': ' + refusal.what if refusal else ''}")
    _raise_refusals(results)
    return Outcome(
        summary="The test message was taken by " + " and ".join(results),
        data={"channels": _words(results)},
        next_steps=("Look whether it arrived; an e-mail address must confirm its subscription first.",),
    )


def failures_of_runs(
    evidence: str, variables: Mapping[str, str], records: airflow_runs.Records
) -> dict[str, Failure]:
    """What runs of this pipeline left of their failure, by the job that waits for the run.

    Raises:
        StorageError: when S3 does not answer.
    """
    found = {
        job: airflow_runs.failure(records, evidence, variables[variable])
        for job, variable in _RUN_OF_JOB.items()
        if variables.get(variable)
    }
    return {job: failure for job, failure in found.items() if failure is not None}


def _failures(
    about: _About, bucket: str, variables: Mapping[str, str], records: airflow_runs.Records
) -> dict[str, Failure]:
    if not about.project or not variables.get("MODEL_VERSION"):
        return {}
    try:
        version = ModelVersion.parse(variables["MODEL_VERSION"])
        evidence = evidence_uri(bucket, about.project, about.model, version)
        return failures_of_runs(evidence, variables, records)
    except MlopsError as error:  # rather twice than never
        console.warn(f"cannot see whether Airflow has announced this: {error.what}")
        return {}


def _about(arguments: argparse.Namespace) -> _About:
    """The manifest may be what is broken: then the model's channel is read from what can be read of it."""
    from mlops.manifest import reader

    try:
        model = reader.load(arguments.manifest, arguments.environment).model(arguments.model)
        return _About(project=model.project, model=model.name, notifications=reader.notifications(model))
    except MlopsError as error:
        console.warn(f"{error.what}; sending to every channel of the model")
        return _guess(arguments)


def _guess(arguments: argparse.Namespace) -> _About:
    from mlops.manifest import source

    try:
        document: Any = source.read(Path(arguments.manifest)).data
    except MlopsError:
        document = {}
    project = document.get("project")
    named = arguments.model and isinstance(project, str) and re.fullmatch(r"[a-z0-9-]{1,29}", project)
    try:
        channel = document["models"][arguments.model]["notifications"]["channel"]
    except (KeyError, TypeError, AttributeError):
        channel = DEFAULT_CHANNEL
    return _About(
        project=project if named else "",
        model=arguments.model,
        notifications=Notifications(channel=channel if isinstance(channel, str) else DEFAULT_CHANNEL),
    )


def _all_channels(settings: PlatformSettings, arguments: argparse.Namespace) -> list[Route]:
    """Those of every model of the manifest; all of the platform's, where there is no manifest."""
    from mlops.manifest import reader

    try:
        models = reader.load(arguments.manifest, arguments.environment).models.values()
        wanted = {reader.notifications(model) for model in models}
    except MlopsError as error:
        console.warn(f"{error.what}; testing all channels of the platform")
        wanted = {Notifications(channel=name) for name in (DEFAULT_CHANNEL, *settings.channels)}
    found = {
        channel.name: channel
        for one in sorted(wanted, key=lambda one: one.channel)
        for channel in _channels(settings, one)
    }
    return list(found.values())


def _channels(settings: PlatformSettings, wanted: Notifications) -> list[Route]:
    from mlops.clients.aws.email import Email
    from mlops.clients.aws.session import client
    from mlops.clients.slack import Slack, webhook

    name, target = settings.channel_or_default(wanted.channel)
    if name != wanted.channel:
        console.warn(messages.unknown_channel(wanted.channel))

    def send(way: Callable[[Message], None]) -> Callable[[Message], None]:
        if name == wanted.channel:
            return way
        return lambda message: way(messages.with_note(message, messages.unknown_channel(wanted.channel)))

    def to_email(message: Message) -> None:
        Email(client("sns"), target.topic_arn).send(message)

    def to_slack(message: Message) -> None:  # a secret that cannot be read must not keep the e-mail back
        Slack(webhook(client("secretsmanager"), target.slack_secret)).send(message)

    label = "" if name == DEFAULT_CHANNEL else f" of {name}"
    found = []
    if wanted.email:
        found.append(Route(Email.name + label, "email", send(to_email), name))
    if wanted.slack:
        found.append(Route(Slack.name + label, "slack", send(to_slack), name))
    return found


def _failed(subject: ReportedPipeline, jobs: Jobs | None) -> list[FailedJob] | None:
    """The failed jobs that make the pipeline fail, and are no other model's.

    None when GitLab does not answer.
    """
    if jobs is None:
        return None
    try:
        failed = jobs.failed_jobs(subject.pipeline.pipeline_id)
    except GitLabError as error:
        for line in error.lines():
            console.warn(line)
        return None
    failed = [job for job in failed if not job.allowed]
    # None at all: GitLab says that something failed, or this job would not run.
    return [job for job in failed if not _is_anothers(job, subject)] if failed else None


def _is_anothers(job: FailedJob, subject: ReportedPipeline) -> bool:
    """Whether it comes from our templates, with the prefix of another model of this repository."""
    return bool(
        subject.prefix
        and not job.name.startswith(subject.prefix)
        and _plain(job.name) in _STAGES
        and _plain(job.name) != job.name
    )


def _stories(
    subject: ReportedPipeline,
    failed: list[FailedJob] | None,
    jobs: Jobs | None,
    records: Callable[[str], DeliveryLog],
) -> list[Story]:
    own, shared = records(subject.model), records("")
    pipeline = subject.pipeline
    if failed is None:
        runs = [_of_run(failure, subject, own) for failure in subject.failures.values()]
        message = messages.pipeline_failed(subject.model if not subject.prefix else "", pipeline.origin)
        identity = _identity(subject, shared, "pipeline", "")
        return runs or [Story(message=message, identity=identity, deliveries=shared)]
    stories = []
    for job in failed[:_JOB_LIMIT]:
        mine = not subject.prefix or job.name.startswith(subject.prefix)
        failure = subject.failures.get(_plain(job.name)) if mine else None
        if failure is not None:
            stories.append(_of_run(failure, subject, own))
            continue
        where = own if mine else shared
        stories.append(
            Story(
                message=_of_job(job, subject, jobs, subject.model if mine else ""),
                identity=_identity(subject, where, job.name, job.reason),
                deliveries=where,
            )
        )
    return stories


def _identity(subject: ReportedPipeline, records: DeliveryLog, job: str, reason: str) -> str:
    """Of a job in a pipeline; without a push, the same every day until a commit or a success."""
    pipeline = subject.pipeline
    if pipeline.kind != "schedule":
        return identity_of("job", pipeline.project_id, pipeline.pipeline_id, job)
    success = records.last_success(_plain(job))
    return identity_of("job", pipeline.project_id, pipeline.commit_sha, job, reason, success)


def _of_run(failure: Failure, subject: ReportedPipeline, records: DeliveryLog) -> Story:
    origin = subject.pipeline.origin
    return Story(
        message=messages.run_failed(failure, origin),
        identity=delivery_log.of_failure(failure, origin, records),
        deliveries=records,
    )


def _of_job(job: FailedJob, subject: ReportedPipeline, jobs: Jobs | None, model: str) -> Message:
    # The job that sends this is not the one that failed.
    origin = replace(subject.pipeline.origin, job_url="")
    cause = f"GitLab says: {job.reason}" if job.reason else ""
    try:
        end = jobs.end_of_log(job.id) if jobs else ""
        cause = "\n".join(part for part in (cause, "The end of its log:" if end else "", end) if part)
    except GitLabError as error:
        console.warn(error.what)
    return messages.job_failed(
        job=job.name, stage=job.stage, cause=cause, model=model, job_url=job.url, origin=origin
    )


def _plain(name: str) -> str:
    """A job's name without the prefix that the templates allow: `a-model:evaluate`."""
    return re.split(r"[-:.]", name)[-1]


def _send(
    stories: Sequence[Story], channels: Sequence[Route]
) -> tuple[list[str], dict[str, NotificationError | None]]:
    """Each story by each way that has not got it; a way that refused one gets no more."""
    sent: dict[str, None] = {}
    results: dict[str, NotificationError | None] = {}
    for story in stories:
        subject = story.message.subject
        for channel in channels:
            if results.get(channel.name) is not None:
                continue
            about = (story.identity, channel.channel, channel.way, subject)
            if not story.deliveries.claim(*about):
                continue
            results[channel.name] = _refusal(channel, story.message)
            if results[channel.name] is None:
                story.deliveries.sent(*about)
                sent[subject] = None
            else:
                story.deliveries.refused(*about)
    return list(sent), results


def _refusal(channel: Route, message: Message) -> NotificationError | None:
    try:
        channel.send(message)
    except NotificationError as error:
        return error
    return None


def _nothing(summary: str, names: Sequence[str]) -> Outcome:
    return Outcome(summary=summary, data={"jobs": names, "sent": [], "channels": {}})


def _words(results: Mapping[str, NotificationError | None]) -> dict[str, str]:
    return {name: error.what if error else "ok" for name, error in results.items()}


def _raise_refusals(results: Mapping[str, NotificationError | None]) -> None:
    refusals = [error for error in results.values() if error is not None]
    if not refusals:
        return
    reached = [name for name, error in results.items() if error is None]
    raise NotificationError(
        "; ".join(error.what for error in refusals),
        cause="\n".join(
            [*(error.cause for error in refusals), f"notified all the same: {', '.join(reached) or 'nobody'}"]
        ),
        next_step=" ".join(error.next_step for error in refusals),
    )
