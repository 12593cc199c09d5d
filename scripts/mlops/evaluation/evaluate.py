"""`mlops evaluate`: wait for the training, then report the challenger against the champion."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mlops.base import console
from mlops.base.errors import EXIT_OK, EvidenceError, GateFailedError, GitLabError, MlopsError, RunFailedError
from mlops.base.result import Outcome
from mlops.base.strict_json import encode
from mlops.ci import dotenv
from mlops.contracts.evidence import (
    CHALLENGER,
    CHAMPION,
    COMPARISON,
    LINEAGE,
    Comparison,
    EvaluationReport,
    Lineage,
)
from mlops.contracts.locations import evidence_uri
from mlops.contracts.runs import TRAINING_DAG, RunAnswer
from mlops.contracts.versions import ModelVersion
from mlops.evaluation import report
from mlops.runs import airflow_runs
from mlops.runs.platform import Platform

if TYPE_CHECKING:
    from mlops.ci.pipeline import Pipeline
    from mlops.clients.aws.s3 import Storage
    from mlops.manifest.reader import Model


class Notes(Protocol):
    """What is needed of `clients.gitlab.GitLabProject`."""

    def put_note(self, merge_request: int, marker: str, text: str) -> None: ...


@dataclass(frozen=True, kw_only=True)
class EvaluationTarget:
    """Which training to report on; `run_id` is empty when nothing was trained."""

    project: str
    model: str
    version: ModelVersion
    evidence_uri: str
    run_id: str
    request: str = ""
    """The `runs.request_fingerprint` of what this pipeline asks for; empty if it asks for nothing."""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Where the results go and how long to wait for them, in seconds."""

    directory: Path
    dotenv: Path
    wait: bool
    timeout: float

    @classmethod
    def read(
        cls, arguments: argparse.Namespace, model: Model, variables: Mapping[str, str]
    ) -> EvaluateOptions:
        asked = str(arguments.timeout or variables.get("MLOPS_WAIT_SECONDS", ""))
        return cls(
            directory=Path(arguments.report),
            dotenv=Path(arguments.dotenv),
            wait=not arguments.no_wait,
            timeout=0 if arguments.no_wait else airflow_runs.patience(longest(model), asked, variables),
        )


def longest(model: Model) -> float:
    """The longest that SageMaker lets a model's training and evaluation take, in seconds.

    Challenger and champion are evaluated side by side. Without `spot`, there is no time for waiting.
    """
    training = model.training
    waits = (training.max_wait or 2 * training.max_runtime) if training.spot else training.max_runtime
    return float(waits + model.evaluation.max_runtime)


def run(arguments: argparse.Namespace) -> Outcome:  # pylint: disable=too-many-locals  # imports count
    """Wait and report.

    Raises:
        MlopsError: of many kinds; see `evaluate`.
    """
    from mlops.ci.pipeline import Pipeline
    from mlops.manifest import reader

    pipeline = Pipeline.from_environment(os.environ)
    # The template names it in a variable: the image of an earlier release does not know the option.
    environment = arguments.environment or os.environ.get("MLOPS_ENVIRONMENT", "")
    model = reader.load(arguments.manifest, environment).model(arguments.model)
    options = EvaluateOptions.read(arguments, model, os.environ)
    version, run_id = requested(arguments, os.environ)

    from mlops.clients.aws.session import explained
    from mlops.clients.gitlab.project import connect

    with explained():
        platform = Platform.connect()
        subject = EvaluationTarget(
            project=model.project,
            model=model.name,
            version=version,
            evidence_uri=evidence_uri(platform.bucket, model.project, model.name, version),
            run_id=run_id,
            request=os.environ.get("TRAINING_REQUEST", "")
            if str(version) == os.environ.get("MODEL_VERSION")
            else "",
        )
        return evaluate(
            subject,
            options,
            pipeline,
            platform,
            # Of another project's change, the job answer reports to that project.
            notes=None if pipeline.downstream else connect(),
        )


def requested(arguments: argparse.Namespace, variables: Mapping[str, str]) -> tuple[ModelVersion, str]:
    """The model version and the run that trains it, from the command line or from the job train.

    Raises:
        SettingsError: when there is no version.
        VersionError: when it is none.
    """
    version = dotenv.model_version(arguments.model_version, variables)
    # The job's run trained the job's version, and no other that somebody asks for by hand.
    inherited = variables.get("DAG_RUN_ID", "") if str(version) == variables.get("MODEL_VERSION") else ""
    return version, arguments.run_id or inherited


def evaluate(
    subject: EvaluationTarget,
    options: EvaluateOptions,
    pipeline: Pipeline,
    platform: Platform,
    *,
    notes: Notes | None,
) -> Outcome:
    """Write all reports; a failed gate is an exit code, not an exception.

    Raises:
        RunFailedError: with the real cause, when the training failed.
        RunTimeoutError: when it is not over in time; a retry of the job waits on.
        TriggerError: when Airflow does not answer for long.
        EvidenceError: when the training left no usable evidence.
    """
    answer: RunAnswer | None = None
    if subject.run_id:
        answer = _answer(subject, options, platform)
        if answer.state == "failed":
            raise _failed(subject, options, platform.storage, answer)
        if answer.state != "success":
            return _not_over(answer)
    else:
        console.say(
            f"{subject.model} {subject.version} was not trained by this pipeline: nothing new to evaluate"
        )
    evaluated = read_evidence(subject, platform.storage, _links(answer, pipeline, options))
    comparison = evaluated.comparison
    text = report.write(options.directory, evaluated)
    dotenv.write(
        options.dotenv,
        {
            "GATE": comparison.gate,
            "CHAMPION_VERSION": comparison.champion or "",
            "EVALUATION_URI": subject.evidence_uri + CHALLENGER,
        },
    )
    if notes is not None and pipeline.merge_request_iid is not None:
        _write_note(notes, pipeline.merge_request_iid, subject, text)
    return _outcome(subject, comparison, options.directory)


def read_evidence(
    subject: EvaluationTarget, storage: Storage, links: tuple[report.Link, ...] = ()
) -> report.Evaluated:
    """The comparison and both evaluations.

    Raises:
        EvidenceError: when one is missing, broken, about another model, or not what was asked for.
    """
    try:
        comparison = storage.read_record(Comparison, subject.evidence_uri + COMPARISON)
        challenger = storage.read_record(EvaluationReport, subject.evidence_uri + CHALLENGER, foreign=True)
        champion = None
        if comparison.champion is not None:
            champion = storage.read_record(EvaluationReport, subject.evidence_uri + CHAMPION)
    except MlopsError as error:
        raise EvidenceError(
            f"There is no usable evaluation of {subject.model} {subject.version}",
            cause="\n".join(part for part in (error.what, error.cause) if part),
            next_step="Run the job train again: it repeats a training whose evidence is incomplete.",
        ) from error
    found = (comparison.project, comparison.model, comparison.challenger)
    if found != (subject.project, subject.model, str(subject.version)):
        raise EvidenceError(
            f"{subject.evidence_uri}{COMPARISON} is about another model",
            cause=f"found {' '.join(found)}",
            next_step="Run the job train again.",
        )
    if subject.request:
        _check_request(subject, storage)
    return report.Evaluated(
        comparison=comparison,
        challenger=challenger,
        champion=champion,
        evidence_uri=subject.evidence_uri,
        links=links,
    )


def _check_request(subject: EvaluationTarget, storage: Storage) -> None:
    """The run of a version is joined by every pipeline of it, whatever its manifest says by now."""
    try:
        made_from = storage.read_record(Lineage, subject.evidence_uri + LINEAGE)
    except MlopsError as error:
        raise EvidenceError(
            f"The lineage of {subject.model} {subject.version} is missing or unreadable",
            cause="\n".join(part for part in (error.what, error.cause) if part),
            next_step="Run the job train again.",
        ) from error
    if made_from.request_fingerprint != subject.request:
        raise EvidenceError(
            f"{subject.model} {subject.version} was trained as an earlier mlops.yml asked",
            cause="its training was under way when this pipeline began, and both may not have one version",
            next_step="Run the job train again: it trains the next version, as mlops.yml asks now.",
        )


def _answer(subject: EvaluationTarget, options: EvaluateOptions, platform: Platform) -> RunAnswer:
    if options.wait:
        return airflow_runs.wait(platform.runs, TRAINING_DAG, subject.run_id, options.timeout, platform.clock)
    answer = platform.runs.status(TRAINING_DAG, subject.run_id)
    if answer.problem is not None:
        raise airflow_runs.refusal(answer)
    return answer


def _not_over(answer: RunAnswer) -> Outcome:
    tasks = ", ".join(f"{task.task_id} {task.state or 'waiting'}" for task in answer.tasks) or "no tasks yet"
    return Outcome(
        summary=f"Run {answer.run_id} is {answer.state}: {tasks}",
        data={"run_id": answer.run_id, "state": answer.state, "tasks": encode(answer.tasks), "gate": None},
        next_steps=("Run this job again later, or without --no-wait.",),
    )


def _failed(
    subject: EvaluationTarget, options: EvaluateOptions, storage: Storage, answer: RunAnswer
) -> RunFailedError:
    what = f"Training of {subject.model} {subject.version}"
    error = airflow_runs.run_failed(storage, subject.evidence_uri, answer, what)
    links = [("Log", error.link), ("Airflow run", answer.run_url)]
    report.write_failure(options.directory, error.what, error.cause, error.next_step, links)
    return error


def _links(answer: RunAnswer | None, pipeline: Pipeline, options: EvaluateOptions) -> tuple[report.Link, ...]:
    links = []
    if pipeline.origin.job_url and not options.directory.is_absolute():
        path = f"{options.directory.as_posix()}/{report.MARKDOWN}"
        links.append(("Evaluation report", f"{pipeline.origin.job_url}/artifacts/file/{path}"))
    if answer is not None and answer.run_url:
        links.append(("Airflow run", answer.run_url))
    return tuple(links)


def _write_note(notes: Notes, merge_request: int, subject: EvaluationTarget, text: str) -> None:
    marker = f"<!-- ml-ops:evaluation:{subject.project}/{subject.model} -->"
    try:
        notes.put_note(merge_request, marker, text)
    except GitLabError as error:  # the report is in the job's artifacts all the same
        for line in error.lines():
            console.warn(line)


def _outcome(subject: EvaluationTarget, comparison: Comparison, directory: Path) -> Outcome:
    lines = [report.verdict(comparison), "", report.table(comparison), ""]
    if comparison.gate == "passed" and subject.version.image.prerelease:
        steps = ["Merge it: the default branch trains a release. A pre-release is never deployed."]
    elif comparison.gate == "passed":
        steps = [f"mlops deploy --model {subject.model} --model-version {subject.version}, or the job deploy"]
    else:
        lines += [f"✗ {reason}" for reason in comparison.reasons()]
        steps = ["Improve the model and push; deploy refuses this version."]
    return Outcome(
        summary="\n".join(lines).rstrip(),
        data={
            "model_version": str(subject.version),
            "run_id": subject.run_id,
            "gate": comparison.gate,
            "reasons": comparison.reasons(),
            "comparison": encode(comparison),
            "report": str(directory / report.MARKDOWN),
        },
        next_steps=(*steps, f"read {directory / report.MARKDOWN}"),
        exit_code=EXIT_OK if comparison.gate == "passed" else GateFailedError.exit_code,
    )
