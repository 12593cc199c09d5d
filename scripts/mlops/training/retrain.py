"""`mlops retrain`: say of every model whether it is due to be trained again, and have those trained."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.base import console
from mlops.base.errors import MlopsError, RetrainingError, UsageError
from mlops.base.result import Outcome
from mlops.base.strict_json import dumps, encode
from mlops.notifications import delivery_log
from mlops.notifications.delivery_log import Ledger
from mlops.runs import airflow_runs
from mlops.training import due, request

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_sagemaker import SageMakerClient

    from mlops.ci.pipeline import Pipeline
    from mlops.clients.aws.releases import ReleasedImage
    from mlops.clients.aws.s3 import Storage
    from mlops.manifest.reader import Model
    from mlops.training.due import Decision

# The name by which `mlops notify` knows what settles an earlier failure of this job.
JOB = "retrain"
_HEADERS = ("model", "due", "why", "since", "last", "training")


@dataclass(frozen=True, kw_only=True)
class Platform:
    """The services of one environment."""

    bucket: str
    runs: airflow_runs.Runs
    storage: Storage
    sagemaker: SageMakerClient
    ecr: ECRClient
    alarms: due.Alarms


@dataclass(frozen=True, kw_only=True)
class Line:
    """What is to be said of one model; times are UTC, ISO 8601, and empty where there is none."""

    model: str
    due: bool | None = None
    """None: nobody knows, because of `trouble`."""
    reason: str = ""
    why: str = ""
    since: str = ""
    last_version: str = ""
    last_trained_at: str = ""
    image_version: str = ""
    model_version: str = ""
    """What the training makes; empty where none is due."""
    run_id: str = ""
    run_state: str = ""
    run_url: str = ""
    trouble: tuple[str, ...] = ()


def run(arguments: argparse.Namespace) -> Outcome:  # pylint: disable=too-many-locals  # imports count
    """Decide and start.

    Raises:
        MlopsError: when not one model can be asked about: no manifest, no settings, no such model.
    """
    from mlops.ci.pipeline import Pipeline
    from mlops.manifest import reader

    pipeline = Pipeline.from_environment(os.environ)
    loaded = reader.load(arguments.manifest, arguments.environment)
    models = [loaded.model(arguments.model)] if arguments.model else list(loaded.models.values())

    from mlops.clients.aws.alarms import DriftAlarms
    from mlops.clients.aws.s3 import Storage
    from mlops.clients.aws.session import client, explained
    from mlops.clients.aws.trigger import Trigger
    from mlops.contracts.platform_settings import read_settings

    with explained():
        settings = read_settings(client("ssm"))
        storage = Storage(client("s3"))
        platform = Platform(
            bucket=settings.bucket,
            runs=Trigger(client("lambda"), settings.trigger_function, storage),
            storage=storage,
            sagemaker=client("sagemaker"),
            ecr=client("ecr"),
            alarms=DriftAlarms(client("cloudwatch"), loaded.project),
        )
    return retrain(models, pipeline, platform, dry_run=arguments.dry_run, table=Path(arguments.table))


def retrain(
    models: Iterable[Model], pipeline: Pipeline, platform: Platform, *, dry_run: bool, table: Path
) -> Outcome:
    """One line a model, and the training of those that are due; trouble with one does not stop the others.

    Returns:
        The outcome, with RetrainingError's exit code when there was trouble with one.

    Raises:
        UsageError: in a merge request or a branch, whose mlops.yml is not merged yet; --dry-run is free.
    """
    if pipeline.kind in {"merge_request", "branch"} and not dry_run:
        raise UsageError(
            "What is not merged retrains nothing",
            cause="releases would be trained as an mlops.yml says that is not merged yet",
            next_step="Add --dry-run, or let a schedule of the default branch run this.",
        )
    lines = []
    for model in models:
        line = _look_after(model, pipeline, platform, dry_run=dry_run)
        lines.append(line)
        console.say(_sentence(line))
        write(table, lines)  # after each: a job that is stopped has told of those before
    return _outcome(lines, table, dry_run=dry_run)


def write(table: Path, lines: Sequence[Line]) -> None:
    """The table as Markdown, and beside it as JSON."""
    from tabulate import tabulate

    rows = [_row(line) for line in lines]
    text = tabulate(rows, headers=_HEADERS, tablefmt="github", disable_numparse=True)
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(f"{text}\n", encoding="utf-8")
    table.with_suffix(".json").write_text(dumps(lines), encoding="utf-8")


def _look_after(model: Model, pipeline: Pipeline, platform: Platform, *, dry_run: bool) -> Line:
    from mlops.clients.aws.session import explained

    line = Line(model=model.name)
    try:
        with explained():
            image, decision = _decide(model, platform)
            line = _decided(line, image, decision)
            if decision.due and not dry_run:
                line = _start(line, model, image, decision, pipeline, platform)
    except MlopsError as error:
        return replace(line, trouble=tuple(error.lines()))
    if pipeline.kind == "schedule" and not dry_run:
        folder = delivery_log.folder_of(platform.bucket, model.project, model.name)
        teller = Ledger(platform.storage, folder, f"pipeline {pipeline.pipeline_id}")
        teller.succeeded(JOB, pipeline.pipeline_id)
    return line


def _decide(model: Model, platform: Platform) -> tuple[ReleasedImage, Decision]:
    from mlops.clients.aws.releases import newest_release

    image = newest_release(platform.ecr, model.repository)
    subject = due.of_manifest(model, str(image.version), image.released_at, platform.bucket)
    decision = due.decide(
        subject,
        platform.bucket,
        sagemaker=platform.sagemaker,
        storage=platform.storage,
        alarms=platform.alarms,
    )
    return image, decision


def _decided(line: Line, image: ReleasedImage, decision: Decision) -> Line:
    return replace(
        line,
        due=decision.due,
        reason=decision.reason,
        why=decision.why,
        since=_utc(decision.since),
        last_version=decision.last.version if decision.last else "",
        last_trained_at=_utc(datetime.fromisoformat(decision.last.created_at)) if decision.last else "",
        image_version=str(image.version),
    )


# pylint: disable-next=too-many-arguments,too-many-positional-arguments
def _start(
    line: Line,
    model: Model,
    image: ReleasedImage,
    decision: Decision,
    pipeline: Pipeline,
    platform: Platform,
) -> Line:
    """Have it trained. Who decided in the same moment meets us in the same run."""
    from mlops.clients.aws import releases

    subject = due.of_manifest(model, str(image.version), image.released_at, platform.bucket)
    version = due.next_version(platform.storage, subject, platform.bucket, decision.last)
    line = replace(line, model_version=str(version))
    uri = releases.uri(platform.ecr, model.repository, image.digest)
    conf = request.of_manifest(model, uri, version, platform.bucket, pipeline.origin)
    answer = airflow_runs.start_or_join(
        platform.runs,
        request.work(conf, pipeline.pipeline_id),
        lambda: due.trained(conf, platform.sagemaker, platform.storage),
    )
    return replace(
        line,
        run_id=answer.run_id,
        run_state="started" if answer.created else str(answer.state),
        run_url=answer.run_url,
    )


def _outcome(lines: Sequence[Line], table: Path, *, dry_run: bool) -> Outcome:
    wanted = [line.model for line in lines if line.due]
    failed = [line.model for line in lines if line.trouble]
    said = f"{len(wanted)} of {len(lines)} models due" + (f": {', '.join(wanted)}" if wanted else "")
    if dry_run and wanted:
        said += " (nothing started: --dry-run)"
    if failed:
        said += f"; trouble with {', '.join(failed)}"
    return Outcome(
        summary=said,
        data={"models": [encode(line) for line in lines], "table": str(table)},
        exit_code=RetrainingError.exit_code if failed else 0,
    )


def _sentence(line: Line) -> str:
    """All there is to say of a model, in one line; trouble takes more."""
    if line.due is None:
        return "\n".join((f"✗ {line.model}: not decided: {line.trouble[0]}", *line.trouble[1:]))
    said = f"{line.model}: {'due' if line.due else 'not due'}, {line.why}"
    if line.since:
        said += f" (since {_minute(line.since)})"
    if line.run_id:
        said += f"; {line.model_version} in run {line.run_id}, {line.run_state} {line.run_url}".rstrip()
    if line.trouble:
        return "\n".join((f"✗ {said}; not started: {line.trouble[0]}", *line.trouble[1:]))
    return said


def _row(line: Line) -> list[str]:
    trouble = line.trouble[0] if line.trouble else ""
    training = f"{line.model_version} {line.run_id} {line.run_state}" if line.run_id else ""
    last = f"{line.last_version}, {_minute(line.last_trained_at)}" if line.last_version else ""
    cells = [
        line.model,
        "?" if line.due is None else "yes" if line.due else "no",
        line.why or trouble,
        _minute(line.since),
        last,
        training or (trouble if line.due else ""),
    ]
    return [cell.replace("|", "\\|").replace("\n", " ") for cell in cells]


def _utc(time: datetime | None) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds") if time else ""


def _minute(time: str) -> str:
    """A time as people read it; empty when there is none."""
    return f"{datetime.fromisoformat(time):%Y-%m-%d %H:%M} UTC" if time else ""
