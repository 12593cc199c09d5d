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
from mlops.notifications.delivery_log import DeliveryLog
from mlops.runs import airflow_runs
from mlops.runs.platform import Platform
from mlops.training import model_versions, request, retraining_rules

if TYPE_CHECKING:
    from mlops.ci.pipeline import Pipeline
    from mlops.clients.aws.releases import ReleasedImage
    from mlops.contracts.versions import ModelVersion
    from mlops.manifest.reader import Model
    from mlops.training.retraining_rules import Decision, ModelToRetrain

# The name by which `mlops notify` knows what settles an earlier failure of this job.
JOB = "retrain"
_HEADERS = ("model", "due", "why", "since", "last", "training")


@dataclass(frozen=True, kw_only=True)
class Line:
    """What is to be said of one model; times are UTC, ISO 8601, and empty if there is none."""

    model: str
    due: bool | None = None
    """None: not known, because of `trouble`."""
    reason: str = ""
    why: str = ""
    since: str = ""
    last_version: str = ""
    last_trained_at: str = ""
    image_version: str = ""
    model_version: str = ""
    """What the training makes; empty if none is due."""
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
    from mlops.clients.aws.session import explained

    with explained():
        platform = Platform.connect()
    retrainer = Retrainer(
        pipeline=pipeline,
        platform=platform,
        alarms=DriftAlarms(platform.cloudwatch, loaded.project),
        dry_run=arguments.dry_run,
    )
    return retrainer.retrain(models, Path(arguments.table))


@dataclass(frozen=True, kw_only=True)
class Retrainer:
    """Looks after the models of one manifest, on behalf of one pipeline."""

    pipeline: Pipeline
    platform: Platform
    alarms: retraining_rules.Alarms
    dry_run: bool

    def retrain(self, models: Iterable[Model], table: Path) -> Outcome:
        """One line a model, and the training of those that are due.

        Trouble with one does not stop the others.

        Args:
            models: Those to look after.
            table: The file that gets the lines, as Markdown; JSON lies beside it.

        Returns:
            The outcome, with RetrainingError's exit code when there was trouble with one.

        Raises:
            UsageError: in a merge request or a branch, whose mlops.yml is not merged yet; --dry-run is free.
        """
        if self.pipeline.kind in {"merge_request", "branch"} and not self.dry_run:
            raise UsageError(
                "What is not merged retrains nothing",
                cause="releases would be trained as an mlops.yml says that is not merged yet",
                next_step="Add --dry-run, or let a schedule of the default branch run this.",
            )
        lines = []
        for model in models:
            line = self._look_after(model)
            lines.append(line)
            console.say(_sentence(line))
            write(table, lines)  # after each: a job that is stopped has reported those before
        return _outcome(lines, table, dry_run=self.dry_run)

    def _look_after(self, model: Model) -> Line:
        from mlops.clients.aws.releases import newest_release
        from mlops.clients.aws.session import explained

        line = Line(model=model.name)
        try:
            with explained():
                image = newest_release(self.platform.ecr, model.repository)
                wanted = retraining_rules.of_manifest(
                    model, str(image.version), image.released_at, self.platform.bucket
                )
                decision = self._decide(wanted)
                line = _decided(line, image, decision)
                if decision.due and not self.dry_run:
                    version = model_versions.next_version(
                        self.platform.storage, wanted, self.platform.bucket, decision.last
                    )
                    line = self._start(replace(line, model_version=str(version)), model, image, version)
        except MlopsError as error:
            return replace(line, trouble=tuple(error.lines()))
        if self.pipeline.kind == "schedule" and not self.dry_run:
            folder = delivery_log.folder_of(self.platform.bucket, model.project, model.name)
            sender = DeliveryLog(self.platform.storage, folder, f"pipeline {self.pipeline.pipeline_id}")
            sender.succeeded(JOB, self.pipeline.pipeline_id)
        return line

    def _decide(self, wanted: ModelToRetrain) -> Decision:
        return retraining_rules.decide(
            wanted,
            self.platform.bucket,
            sagemaker=self.platform.sagemaker,
            storage=self.platform.storage,
            alarms=self.alarms,
        )

    def _start(self, line: Line, model: Model, image: ReleasedImage, version: ModelVersion) -> Line:
        """Start its training, or join the run that another pipeline started in the same moment."""
        from mlops.clients.aws import releases

        platform = self.platform
        uri = releases.uri(platform.ecr, model.repository, image.digest)
        conf = request.of_manifest(model, uri, version, platform.bucket, self.pipeline.origin)
        answer = airflow_runs.start_or_join(
            platform.runs,
            request.work(conf, self.pipeline.pipeline_id),
            lambda: model_versions.is_trained(conf, platform.sagemaker, platform.storage),
        )
        return replace(
            line,
            run_id=answer.run_id,
            run_state="started" if answer.created else str(answer.state),
            run_url=answer.run_url,
        )


def write(table: Path, lines: Sequence[Line]) -> None:
    """The table as Markdown, and beside it as JSON."""
    from tabulate import tabulate

    rows = [_row(line) for line in lines]
    text = tabulate(rows, headers=_HEADERS, tablefmt="github", disable_numparse=True)
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(f"{text}\n", encoding="utf-8")
    table.with_suffix(".json").write_text(dumps(lines), encoding="utf-8")


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
