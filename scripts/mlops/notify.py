"""`mlops notify`: tell the channels which job of a pipeline failed, unless a DAG has told them already."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from mlops import console, messages, waiting
from mlops.errors import GitLabError, MlopsError, NotificationError
from mlops.messages import Message
from mlops.outcome import Outcome
from mlops.run_conf import evidence_uri
from mlops.versions import ModelVersion

if TYPE_CHECKING:
    from mlops.clients.gitlab import Job
    from mlops.manifest import Model
    from mlops.pipeline import Pipeline
    from mlops.settings import Settings

# A broken runner can fail every job at once; Slack takes one message a second.
_JOB_LIMIT = 5
# Which run's failure makes which job fail: its dotenv variable, by the job's name without its prefix.
_RUN_OF_JOB = {"evaluate": "DAG_RUN_ID", "deploy": "DEPLOYMENT_RUN_ID"}


class Jobs(Protocol):
    """What is needed of `clients.gitlab.GitLabProject`."""

    def failed_jobs(self, pipeline_id: str) -> list[Job]: ...


@dataclass(frozen=True)
class Channel:
    """Where messages go; `send` raises NotificationError."""

    name: str
    send: Callable[[Message], None]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What the pipeline is about; `told` are the jobs whose failure a DAG has announced."""

    model: str
    pipeline: Pipeline
    told: frozenset[str] = frozenset()


def run(arguments: argparse.Namespace) -> Outcome:
    """Send, or test the channels.

    Raises:
        NotificationError: naming the channels that did not take a message.
        MlopsError: of other kinds, when the platform's settings cannot be read.
    """
    from mlops.clients import gitlab
    from mlops.clients.aws import client, explained
    from mlops.clients.storage import Storage
    from mlops.pipeline import Pipeline
    from mlops.settings import read_settings

    pipeline = Pipeline.from_environment(os.environ)
    with explained():
        settings = read_settings(client("ssm"))
        if arguments.test:
            return check_channels(_channels(settings, slack=True, email=True), pipeline)
        model = _model(arguments)
        wanted = model.notifications if model else None
        channels = _channels(
            settings, slack=wanted is None or wanted.slack, email=wanted is None or wanted.email
        )
        told = _told(model, settings.bucket, os.environ, Storage(client("s3")))
        name = model.name if model else arguments.model
        subject = Subject(model=name, pipeline=pipeline, told=told)
        return notify(subject, channels, gitlab.connect())


def notify(subject: Subject, channels: Sequence[Channel], jobs: Jobs | None) -> Outcome:
    """Announce the pipeline's failed jobs. Without a project token the pipeline is all that can be named.

    Raises:
        NotificationError: when a channel did not take a message; the others have it.
    """
    failed = _failed(subject, jobs)
    names = [job.name for job in failed] if failed else []
    if failed is not None:
        failed = [job for job in failed if _plain(job.name) not in subject.told]
    # With a list that leaves nothing, or none at all and a run that failed: a DAG has said it all.
    if failed == [] or (failed is None and subject.told):
        return Outcome(
            summary="Airflow has announced this failure already: nothing to send",
            data={"jobs": names, "sent": [], "channels": {}},
        )
    if not channels:
        return Outcome(
            summary="mlops.yml switches off all channels: nothing sent",
            data={"jobs": names, "sent": [], "channels": {}},
        )
    texts = [_message(job, subject) for job in failed[:_JOB_LIMIT]] if failed else []
    texts = texts or [messages.pipeline_failed(subject.model, subject.pipeline.origin)]
    results = _send(texts, channels)
    _raise_refusals(results)
    return Outcome(
        summary="Told " + " and ".join(results) + f": {'; '.join(text.subject for text in texts)}",
        data={"jobs": names, "sent": [text.subject for text in texts], "channels": _words(results)},
    )


def check_channels(channels: Sequence[Channel], pipeline: Pipeline) -> Outcome:
    """Send a test message to every channel of the platform and say how each did.

    Raises:
        NotificationError: when one did not take it.
    """
    results = _send([messages.channel_test(pipeline.origin)], channels)
    for name, refusal in results.items():
        console.say(f"{'✗' if refusal else '✓'} {name}{': ' + refusal.what if refusal else ''}")
    _raise_refusals(results)
    return Outcome(
        summary="The test message was taken by " + " and ".join(results),
        data={"channels": _words(results)},
        next_steps=("Look whether it arrived; an e-mail address must confirm its subscription first.",),
    )


def told_by_runs(evidence: str, variables: Mapping[str, str], records: waiting.Records) -> frozenset[str]:
    """The jobs whose run failed and said so: who writes failure.json of exactly this run also announces it.

    Raises:
        StorageError: when S3 does not tell.
    """
    return frozenset(
        job
        for job, variable in _RUN_OF_JOB.items()
        if variables.get(variable) and waiting.failure(records, evidence, variables[variable]) is not None
    )


def _told(
    model: Model | None, bucket: str, variables: Mapping[str, str], records: waiting.Records
) -> frozenset[str]:
    if model is None or not variables.get("MODEL_VERSION"):
        return frozenset()
    try:
        version = ModelVersion.parse(variables["MODEL_VERSION"])
        return told_by_runs(evidence_uri(bucket, model.project, model.name, version), variables, records)
    except MlopsError as error:  # rather twice than never
        console.warn(f"cannot see whether Airflow has announced this: {error.what}")
        return frozenset()


def _model(arguments: argparse.Namespace) -> Model | None:
    """The manifest may be what is broken: then everybody hears of it."""
    from mlops import manifest

    try:
        return manifest.load(arguments.manifest).model(arguments.model)
    except MlopsError as error:
        console.warn(f"{error.what}; telling all channels")
        return None


def _channels(settings: Settings, *, slack: bool, email: bool) -> list[Channel]:
    from mlops.clients.aws import client
    from mlops.clients.email import Email
    from mlops.clients.slack import Slack, webhook

    def to_slack(message: Message) -> None:  # a secret that cannot be read must not keep the e-mail back
        Slack(webhook(client("secretsmanager"), settings.slack_secret)).send(message)

    found = []
    if email:
        found.append(Channel(Email.name, Email(client("sns"), settings.topic_arn).send))
    if slack:
        found.append(Channel(Slack.name, to_slack))
    return found


def _failed(subject: Subject, jobs: Jobs | None) -> list[Job] | None:
    """The failed jobs that make the pipeline fail; None when nobody can tell."""
    if jobs is None:
        return None
    try:
        failed = jobs.failed_jobs(subject.pipeline.pipeline_id)
    except GitLabError as error:
        for line in error.lines():
            console.warn(line)
        return None
    return [job for job in failed if not job.allowed] or None


def _message(job: Job, subject: Subject) -> Message:
    # The job that sends this is not the one that failed.
    origin = replace(subject.pipeline.origin, job_url="")
    cause = f"GitLab says: {job.reason}" if job.reason else ""
    return messages.job_failed(
        job=job.name, stage=job.stage, cause=cause, model=subject.model, job_url=job.url, origin=origin
    )


def _plain(name: str) -> str:
    """A job's name without the prefix that the templates allow: `a-model:evaluate`."""
    return re.split(r"[-:.]", name)[-1]


def _send(texts: Iterable[Message], channels: Sequence[Channel]) -> dict[str, NotificationError | None]:
    results: dict[str, NotificationError | None] = {channel.name: None for channel in channels}
    for text in texts:
        for channel in channels:
            if results[channel.name] is None:
                try:
                    channel.send(text)
                except NotificationError as error:
                    results[channel.name] = error
    return results


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
