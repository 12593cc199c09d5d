"""`mlops notify`: tell a model's channel which job of the pipeline failed, and why, once.

A failed run of Airflow makes the job fail that waits for it. Both tell it by the same identity, so the ledger
lets only the first of them.
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
from mlops.notifications import delivery_log as ledger
from mlops.notifications import messages
from mlops.notifications.delivery_log import Ledger, Way, identity_of
from mlops.runs import airflow_runs

if TYPE_CHECKING:
    from mlops.ci.pipeline import Pipeline
    from mlops.clients.gitlab.project import Job
    from mlops.contracts.evidence import Failure
    from mlops.contracts.platform_settings import Settings

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

    def failed_jobs(self, pipeline_id: str) -> list[Job]: ...

    def end_of_log(self, job_id: int) -> str: ...


@dataclass(frozen=True)
class Channel:
    """One way to the people of a channel; `send` raises NotificationError."""

    name: str
    way: Way
    send: Callable[[Message], None]
    channel: str = DEFAULT_CHANNEL


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What the pipeline is about; `failures` are those of its runs, by the job that waits for the run."""

    project: str
    model: str
    pipeline: Pipeline
    prefix: str = ""
    """Of the model's jobs."""
    failures: Mapping[str, Failure] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Story:
    """One thing to tell."""

    message: Message
    identity: str
    ledger: Ledger


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
    from mlops.clients.aws.s3 import Storage
    from mlops.clients.aws.session import client, explained
    from mlops.clients.gitlab import project as gitlab
    from mlops.contracts.platform_settings import read_settings

    pipeline = Pipeline.from_environment(os.environ)
    with explained():
        settings = read_settings(client("ssm"))
        if arguments.test:
            return check_channels(_all_channels(settings, arguments), pipeline)
        about = _about(arguments)
        storage = Storage(client("s3"))
        subject = Subject(
            project=about.project,
            model=about.model,
            pipeline=pipeline,
            prefix=arguments.job_prefix,
            failures=_failures(about, settings.bucket, os.environ, storage),
        )

        def records(model: str) -> Ledger:
            folder = ledger.folder_of(settings.bucket, about.project, model) if about.project else ""
            return Ledger(storage, folder, f"pipeline {pipeline.project_id}/{pipeline.pipeline_id}")

        channels = _channels(settings, about.notifications)
        return notify(subject, channels, gitlab.connect(), records)


def notify(
    subject: Subject, channels: Sequence[Channel], jobs: Jobs | None, records: Callable[[str], Ledger]
) -> Outcome:
    """Announce the pipeline's failed jobs. Without a project token the pipeline is all that can be named.

    Args:
        subject: What the pipeline is about.
        channels: Who hears of it.
        jobs: GitLab, where it may be asked.
        records: The ledger of a model; that of the project's shared jobs for an empty name.

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
    told, results = _tell(stories, channels)
    _raise_refusals(results)
    if not told:
        return _nothing("This failure has been told already: nothing to send", names)
    return Outcome(
        summary="Told " + " and ".join(results) + f": {'; '.join(told)}",
        data={"jobs": names, "sent": told, "channels": _words(results)},
    )


def check_channels(channels: Sequence[Channel], pipeline: Pipeline) -> Outcome:
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
        StorageError: when S3 does not tell.
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


def _all_channels(settings: Settings, arguments: argparse.Namespace) -> list[Channel]:
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


def _channels(settings: Settings, wanted: Notifications) -> list[Channel]:
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
        found.append(Channel(Email.name + label, "email", send(to_email), name))
    if wanted.slack:
        found.append(Channel(Slack.name + label, "slack", send(to_slack), name))
    return found


def _failed(subject: Subject, jobs: Jobs | None) -> list[Job] | None:
    """The failed jobs that make the pipeline fail, and are no other model's; None when nobody can tell."""
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


def _is_anothers(job: Job, subject: Subject) -> bool:
    """Whether it comes from our templates, with the prefix of another model of this repository."""
    return bool(
        subject.prefix
        and not job.name.startswith(subject.prefix)
        and _plain(job.name) in _STAGES
        and _plain(job.name) != job.name
    )


def _stories(
    subject: Subject, failed: list[Job] | None, jobs: Jobs | None, records: Callable[[str], Ledger]
) -> list[Story]:
    own, shared = records(subject.model), records("")
    pipeline = subject.pipeline
    if failed is None:
        runs = [_of_run(failure, subject, own) for failure in subject.failures.values()]
        message = messages.pipeline_failed(subject.model if not subject.prefix else "", pipeline.origin)
        identity = _identity(subject, shared, "pipeline", "")
        return runs or [Story(message=message, identity=identity, ledger=shared)]
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
                ledger=where,
            )
        )
    return stories


def _identity(subject: Subject, records: Ledger, job: str, reason: str) -> str:
    """Of a job in a pipeline; where nobody pushed, the same every day until a commit or a success."""
    pipeline = subject.pipeline
    if pipeline.kind != "schedule":
        return identity_of("job", pipeline.project_id, pipeline.pipeline_id, job)
    success = records.last_success(_plain(job))
    return identity_of("job", pipeline.project_id, pipeline.commit_sha, job, reason, success)


def _of_run(failure: Failure, subject: Subject, records: Ledger) -> Story:
    origin = subject.pipeline.origin
    return Story(
        message=messages.run_failed(failure, origin),
        identity=ledger.of_failure(failure, origin, records),
        ledger=records,
    )


def _of_job(job: Job, subject: Subject, jobs: Jobs | None, model: str) -> Message:
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


def _tell(
    stories: Sequence[Story], channels: Sequence[Channel]
) -> tuple[list[str], dict[str, NotificationError | None]]:
    """Each story by each way that has not got it; a way that refused one gets no more."""
    told: dict[str, None] = {}
    results: dict[str, NotificationError | None] = {}
    for story in stories:
        subject = story.message.subject
        for channel in channels:
            if results.get(channel.name) is not None:
                continue
            about = (story.identity, channel.channel, channel.way, subject)
            if not story.ledger.claim(*about):
                continue
            results[channel.name] = _refusal(channel, story.message)
            if results[channel.name] is None:
                story.ledger.sent(*about)
                told[subject] = None
            else:
                story.ledger.refused(*about)
    return list(told), results


def _refusal(channel: Channel, message: Message) -> NotificationError | None:
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
            [*(error.cause for error in refusals), f"told all the same: {', '.join(reached) or 'nobody'}"]
        ),
        next_step=" ".join(error.next_step for error in refusals),
    )
