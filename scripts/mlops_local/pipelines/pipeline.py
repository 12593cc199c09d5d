"""Runs one pipeline of a project of the local GitLab, as a runner would: a clean clone, then its jobs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from mlops.base.errors import LocalStackError, UsageError
from mlops_local.base import paths
from mlops_local.base.environment import find_environment
from mlops_local.gitlab import api, id_tokens, pipelines, projects, statuses, users
from mlops_local.gitlab.projects import DEFAULT_BRANCH, LocalProject
from mlops_local.gitlab.variables import for_pipeline as group_variables
from mlops_local.pipelines import changes, ci_file, inputs, sources, trigger_jobs
from mlops_local.pipelines import gitlab_ci_local as engine
from mlops_local.pipelines.ci_file import NO_JOBS, NoPipelineError
from mlops_local.pipelines.job_board import IdToken, JobBoard, JobResult
from mlops_local.pipelines.variables import SOURCES, CommitDetails, PipelineTrigger, TriggeringJob, predefined
from mlops_local.stack.stack import Stack

# Jobs talk to this machine's own Docker daemon, where there is one, not to the service of a template.
_DOCKER = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_TLS_CERTDIR")

Echo = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class PipelineRun:
    """A pipeline that ran; `run_manual` starts what a person would click."""

    id: int
    iid: int
    project: str
    url: str
    commit: str
    trigger: PipelineTrigger
    jobs: tuple[JobResult, ...]
    folder: Path
    planned: tuple[engine.PlannedJob, ...] = field(repr=False)
    settings: dict[str, str] = field(repr=False)
    """The CI variables all jobs got."""
    downstream: Mapping[str, PipelineRun] = field(default_factory=dict)
    """The pipelines that its trigger jobs started in other projects, by the trigger job's name."""
    statuses: tuple[Mapping[str, object], ...] = ()
    """What others said of the commit, as GitLab answers it."""
    notes: tuple[str, ...] = ()
    """What stands on the merge request."""
    reason: str = ""
    """Why GitLab makes no pipeline of this change, in its words; empty if there is one."""

    def job(self, name: str) -> JobResult:
        """The job of that name.

        Raises:
            UsageError: when the pipeline has none.
        """
        for job in self.jobs:
            if job.name == name:
                return job
        names = ", ".join(job.name for job in self.jobs)
        raise UsageError(f"The pipeline has no job '{name}'", next_step=f"Its jobs: {names or 'none'}")

    @property
    def succeeded(self) -> bool:
        """Whether GitLab would show it green, or with a warning."""
        return all(job.state not in ("failed", "canceled") for job in self.jobs)

    @property
    def variables(self) -> dict[str, str]:
        """The dotenv variables of all jobs, later ones on top."""
        return {name: value for job in self.jobs for name, value in job.variables.items()}


def deploy_jobs(done: PipelineRun) -> tuple[str, ...]:
    """The deploy jobs of models that wait for a click, in the pipeline and in those it started."""
    return tuple(job.name for job in deployments(done) if job.state == "manual")


def deployments(done: PipelineRun) -> tuple[JobResult, ...]:
    """The jobs that deploy a model, in the pipeline and in those it started."""
    names = {job.name for job in done.planned if job.deploys}
    children = [job for child in done.downstream.values() for job in deployments(child)]
    return (*(job for job in done.jobs if job.name in names), *children)


@dataclass(frozen=True, kw_only=True)
class PipelineOptions:
    """How to run.

    Attributes:
        variables: More CI variables, as a person would set them for the project.
        tools: Folders that jobs find programs in before all others.
        limit_seconds: After which a pipeline is stopped.
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    tools: tuple[Path, ...] = ()
    limit_seconds: float = 3600.0


def run(  # pylint: disable=too-many-arguments,too-many-locals
    stack: Stack,
    project: str,
    commit: str,
    trigger: PipelineTrigger | None = None,
    *,
    echo: Echo = print,
    options: PipelineOptions | None = None,
) -> PipelineRun:
    """Run the pipeline of a pushed commit until nothing is left but manual jobs.

    Args:
        project: The project's path in the local GitLab.
        commit: A commit that was pushed there.
        trigger: By default a push to the default branch.
        echo: Gets every line of output.

    Raises:
        LocalStackError: when the project, the commit or the engine is missing, or the CI file is not valid.
    """
    return _execute(
        _prepare(stack, project, commit, trigger or PipelineTrigger(), options or PipelineOptions()), echo
    )


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """A pipeline that GitLab would have created, and of which no job has run."""

    stack: Stack
    pipeline: pipelines.StoredPipeline
    trigger: PipelineTrigger
    folder: Path
    settings: dict[str, str]
    checkout: engine.Checkout
    planned: tuple[engine.PlannedJob, ...]
    options: PipelineOptions
    reason: str = ""
    """Why there is no pipeline."""

    def board(self, before: Sequence[JobResult] = ()) -> JobBoard:
        """Its jobs, as far as they are known."""
        home = self.stack.folder / "gitlab"
        return JobBoard(home, self.pipeline, self.planned, self.checkout, before)

    def overlay(self, board: JobBoard) -> dict[str, dict[str, object]]:
        """What differs for each job."""
        return dict(board.overlay(self.stack.gitlab_url, _tokens(self.stack, self.settings, self.checkout)))


def _prepare(
    stack: Stack, project: str, commit: str, trigger: PipelineTrigger, options: PipelineOptions
) -> _Prepared:
    home = stack.folder / "gitlab"
    found = projects.find_project(home, project)
    if found is None:
        raise LocalStackError(f"The local GitLab has no project {project}", next_step="Push to it first.")
    facts = sources.read_commit(found, commit)
    pipeline = _create(home, found, facts, trigger)
    folder = stack.runs_folder / str(pipeline.id)
    sources.clone(f"{stack.gitlab_url}/{project}.git", facts.sha, folder / "source")
    changes.mark(folder / "source", found, changes.base(home, found, pipeline))
    settings = {
        **predefined(pipeline, trigger, facts, stack.gitlab_url),
        **{name: os.environ.get(name, "") for name in _DOCKER},
        "MLOPS_VENVS": str(paths.cache() / "model-venvs"),
        **stack.environment(),
        **group_variables(home, project, protected=trigger.ref == DEFAULT_BRANCH),
        **options.variables,
        **trigger.variables,
    }
    checkout = engine.check_out(folder, settings, options.tools, trigger.inputs)
    sources.fetch_templates(home, checkout)
    planned, reason = _plan(home, pipeline, checkout)
    return _Prepared(
        stack=stack,
        pipeline=pipeline,
        trigger=trigger,
        folder=folder,
        settings=settings,
        checkout=checkout,
        planned=planned,
        options=options,
        reason=reason,
    )


def _plan(
    home: Path, pipeline: pipelines.StoredPipeline, checkout: engine.Checkout
) -> tuple[tuple[engine.PlannedJob, ...], str]:
    """The jobs of a pipeline, or else why GitLab makes none.

    Raises:
        LocalStackError: when the CI file is refused; GitLab shows such a pipeline as failed, with the errors.
    """
    try:
        planned, reason = tuple(engine.plan(checkout)), ""
    except NoPipelineError as error:
        planned, reason = (), error.what
    except LocalStackError as error:
        pipelines.close(home, pipeline, error.cause or error.what)
        raise
    if not planned:
        pipelines.close(home, pipeline)
        reason = reason or NO_JOBS
    return planned, reason


def _execute(prepared: _Prepared, echo: Echo) -> PipelineRun:
    """Run the jobs, those of trigger jobs' pipelines too, until nothing is left but manual ones."""
    if prepared.reason:
        return _ended(prepared, (), {})
    board, planned = prepared.board(), prepared.planned
    overlay = prepared.overlay(board)
    later = {
        job.base or job.name: {**overlay[job.base or job.name], "rules": [{"when": "manual"}]}
        for job in planned
        if job.name in engine.waiting(planned)
    }
    whole = engine.CiRun(checkout=prepared.checkout, jobs=planned, overlay={**overlay, **later})
    if any(job.name not in engine.waiting(planned) for job in planned):
        _follow(board, whole, echo, prepared.options.limit_seconds)
    downstream = _go_on(prepared, board, echo)
    for name in board.forgotten():
        alone = engine.CiRun(
            checkout=prepared.checkout, jobs=planned, overlay=_unruled(overlay, name), only=name
        )
        _follow(board, alone, echo, prepared.options.limit_seconds)
    return _with_what_was_said(_ended(prepared, board.finish(), downstream), prepared.stack)


def _ended(
    prepared: _Prepared, jobs: tuple[JobResult, ...], downstream: Mapping[str, PipelineRun]
) -> PipelineRun:
    return PipelineRun(
        id=prepared.pipeline.id,
        iid=prepared.pipeline.iid,
        project=prepared.pipeline.project_path,
        url=prepared.settings["CI_PIPELINE_URL"],
        commit=prepared.pipeline.sha,
        trigger=prepared.trigger,
        jobs=jobs,
        folder=prepared.folder,
        planned=prepared.planned,
        settings=prepared.settings,
        downstream=downstream,
        reason=prepared.reason,
    )


def _go_on(prepared: _Prepared, board: JobBoard, echo: Echo) -> dict[str, PipelineRun]:
    """Run what waited and may run now, one job after the other; the pipelines that were started."""
    overlay = prepared.overlay(board)
    downstream: dict[str, PipelineRun] = {}
    while name := board.released():
        job = board.planned(name)
        if job.trigger:
            if started := _start(prepared, board, job, echo):
                downstream[name] = started
            continue
        ruled = overlay if job.when == "on_success" else _unruled(overlay, job.base or name)
        alone = engine.CiRun(checkout=prepared.checkout, jobs=prepared.planned, overlay=ruled, only=name)
        _follow(board, alone, echo, prepared.options.limit_seconds)
    return downstream


def _start(upstream: _Prepared, board: JobBoard, job: engine.PlannedJob, echo: Echo) -> PipelineRun | None:
    """Carry out a trigger job: its pipeline with what GitLab hands over, and the state that comes back."""
    began = time.monotonic()
    board.triggers(job.name)
    try:
        child = _create_downstream(upstream, board, job)
    except (LocalStackError, UsageError) as error:
        text = f"The downstream pipeline could not be created: {error.what}\n{error.cause}\n"
        echo(f"{job.name} {text}")
        board.triggered(job.name, "failed", time.monotonic() - began, 0, text)
        return None
    link = child.settings["CI_PIPELINE_URL"]
    echo(f"{job.name} > pipeline {child.pipeline.id} of {child.pipeline.project_path}: {link}")
    try:
        done = _execute(child, echo)
    except BaseException:
        board.cancel()
        raise
    _come_back(upstream.stack, board, job, done, time.monotonic() - began)
    return done


def _create_downstream(upstream: _Prepared, board: JobBoard, job: engine.PlannedJob) -> _Prepared:
    """The pipeline that a trigger job starts.

    Raises:
        LocalStackError: when GitLab would not create it, in its words.
    """
    if job.trigger is None:
        raise LocalStackError(f"{job.name} is not a trigger job")
    asked = trigger_jobs.request(
        job.trigger, upstream.settings, board.dotenv(job.name), upstream.trigger.variables
    )
    home = upstream.stack.folder / "gitlab"
    project = projects.find_project(home, asked.project)
    if project is None:
        raise LocalStackError("Downstream project could not be found", cause=asked.project)
    if project.id == upstream.pipeline.project_id:
        raise LocalStackError(
            "A multi-project pipeline cannot be started in its own project", cause=asked.project
        )
    branch = asked.branch or DEFAULT_BRANCH
    inputs.check(project, branch, asked.inputs)
    trigger = PipelineTrigger(
        kind="pipeline",
        ref=branch,
        user=upstream.trigger.user,
        inputs=asked.inputs,
        variables=asked.variables,
        upstream=TriggeringJob(
            job=board.number(job.name),
            pipeline=upstream.pipeline.id,
            project=upstream.pipeline.project_id,
        ),
    )
    prepared = _prepare(upstream.stack, asked.project, f"refs/heads/{branch}", trigger, upstream.options)
    if prepared.reason:
        raise LocalStackError(prepared.reason)
    return prepared


def _come_back(
    stack: Stack, board: JobBoard, job: engine.PlannedJob, done: PipelineRun, seconds: float
) -> None:
    """Give a trigger job the state that its strategy makes of the pipeline's."""
    strategy = job.trigger.strategy if job.trigger else ""
    found = pipelines.find(stack.folder / "gitlab", done.id)
    status = found.status if found else "failed"
    text = f"Pipeline {done.id} of {done.project}: {status}\n{done.url}\n"
    board.triggered(job.name, trigger_jobs.state(strategy, status), seconds, done.id, text)


def run_manual(  # pylint: disable=too-many-arguments
    stack: Stack,
    done: PipelineRun,
    job: str,
    variables: Mapping[str, str] | None = None,
    *,
    echo: Echo = print,
    options: PipelineOptions | None = None,
) -> PipelineRun:
    """Start a manual job of a pipeline that ran, or repeat one that ended; it gets the others' artifacts.

    The jobs that only waited for it run after it.

    Args:
        variables: What a person fills in beside the button.

    Raises:
        UsageError: when there is no such job, or GitLab would not offer it.
        LocalStackError: when the engine fails.
    """
    options = options or PipelineOptions()
    for name, child in done.downstream.items():
        if job in (one.name for one in child.jobs) and job not in (one.name for one in done.jobs):
            child = run_manual(stack, child, job, variables, echo=echo, options=options)
            prepared, board = _again(stack, done, {}, options)
            _come_back(stack, board, board.planned(name), child, done.job(name).seconds)
            started = _go_on(prepared, board, echo)
            downstream = {**done.downstream, name: child, **started}
            return _with_what_was_said(replace(done, jobs=board.finish(), downstream=downstream), stack)
    if done.job(job).state == "skipped":
        raise UsageError(
            f"The job '{job}' cannot be started",
            cause="a job it needs did not succeed",
            next_step=f"Look at {done.url}",
        )
    prepared, board = _again(stack, done, variables or {}, options)
    planned = board.planned(job)
    started = {}
    if not planned.trigger:
        alone = engine.CiRun(
            checkout=prepared.checkout, jobs=done.planned, overlay=prepared.overlay(board), only=job
        )
        _follow(board, alone, echo, options.limit_seconds)
    elif found := _start(prepared, board, planned, echo):
        started = {job: found}
    started |= _go_on(prepared, board, echo)
    downstream = {**done.downstream, **started}
    return _with_what_was_said(replace(done, jobs=board.finish(), downstream=downstream), stack)


def _with_what_was_said(done: PipelineRun, stack: Stack) -> PipelineRun:
    """The pipeline with what others said of its commit and its merge request."""
    home = stack.folder / "gitlab"
    project = projects.find_project(home, done.project)
    if project is None:
        return done
    said = statuses.list_statuses(home, project, done.commit, {}, stack.gitlab_url)
    notes = api.list_notes(home, project, done.trigger.merge_request)
    return replace(
        done,
        statuses=tuple(one for one in said if one["id"] >= statuses.FIRST_ID),
        notes=tuple(note["body"] for note in notes),
    )


def _again(
    stack: Stack, done: PipelineRun, variables: Mapping[str, str], options: PipelineOptions
) -> tuple[_Prepared, JobBoard]:
    """A pipeline that ran, to go on with."""
    pipeline = pipelines.find(stack.folder / "gitlab", done.id)
    if pipeline is None:
        raise LocalStackError(f"The local GitLab has no pipeline {done.id}")
    settings = {**done.settings, **variables}
    prepared = _Prepared(
        stack=stack,
        pipeline=pipeline,
        trigger=done.trigger,
        folder=done.folder,
        settings=done.settings,
        checkout=engine.check_out(done.folder, settings, options.tools, done.trigger.inputs),
        planned=done.planned,
        options=options,
    )
    return prepared, prepared.board(done.jobs)


def _unruled(overlay: Mapping[str, Mapping[str, object]], name: str) -> dict[str, Mapping[str, object]]:
    """The overlay in which a job runs whatever its rules say."""
    return {**overlay, name: {**overlay[name], "rules": [{"when": "always"}]}}


def _tokens(stack: Stack, settings: Mapping[str, str], checkout: engine.Checkout) -> IdToken | None:
    """Makes the jobs' ID tokens for the audiences that the CI file names; None if there are no roles."""
    if not find_environment(stack.environment_name).whole:
        return None
    home, server = stack.folder / "gitlab", stack.gitlab_url
    audiences = ci_file.audiences(engine.preview(checkout))

    def token(name: str, number: str) -> str:
        if name not in audiences:
            return ""
        audience = trigger_jobs.expand(audiences[name], settings)
        return id_tokens.issue(home, server, {**settings, "CI_JOB_ID": number}, audience)

    return token


def _follow(board: JobBoard, engine_run: engine.CiRun, echo: Echo, limit_seconds: float) -> None:
    try:
        for event in engine_run.events(echo, limit_seconds):
            board.note(event)
    except BaseException:
        board.cancel()
        raise


def _create(
    home: Path, project: LocalProject, commit: CommitDetails, trigger: PipelineTrigger
) -> pipelines.StoredPipeline:
    user = users.ensure(home, trigger.user)
    if user.state == "blocked":
        raise LocalStackError(f"GitLab starts no pipeline for {user.username}", cause="the user is blocked")
    return pipelines.create(
        home,
        project,
        # A merge request's pipeline runs for a ref of its own, though its variables name the branch.
        ref=f"refs/merge-requests/{trigger.merge_request}/head" if trigger.merge_request else trigger.ref,
        sha=commit.sha,
        source=SOURCES[trigger.kind],
        tag=trigger.kind == "tag",
        created_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        user=user.username,
        upstream=trigger.upstream.job if trigger.upstream else 0,
    )
