"""`mlops local run`: push a model repo to the local GitLab, and run its pipeline."""

from __future__ import annotations

import shutil
import subprocess
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from mlops.base import console
from mlops.base.errors import ManifestError, SourceError, UsageError
from mlops.base.result import Outcome
from mlops_local.gitlab.projects import DEFAULT_BRANCH, create_project
from mlops_local.pipelines import pipeline
from mlops_local.pipelines.job_board import JobResult
from mlops_local.pipelines.pipeline import PipelineRun
from mlops_local.pipelines.variables import PipelineTrigger
from mlops_local.stack import sdk
from mlops_local.stack.stack import Stack, require

GROUP = "models"
_LAST_LINES = 20
_SIGNS = {
    "success": "✓",
    "failed": "✗",
    "warning": "!",
    "manual": "▶",
    "skipped": "-",
    "canceled": "-",
    "running": "…",
}


def run(arguments: Namespace) -> Outcome:
    """Push HEAD and run its pipeline; with `--deploy`, click the deploy job of every model that offers it.

    The command fails with the pipeline, and with `--deploy` also when a model was not deployed: GitLab's
    pipeline is green then, since the job may fail.

    Raises:
        LocalStackError: when the stack is not up.
        SourceError: when the folder is not a git repository with a commit.
    """
    stack = require(arguments.name)
    repository = as_repository(stack, Path(arguments.repository).resolve())
    upload_data(stack, repository)
    project, commit = push(stack, repository)
    done = pipeline.run(stack, project, commit, _trigger(arguments), echo=console.say)
    if arguments.deploy:
        variables = {"MLOPS_OVERRIDE": arguments.override} if arguments.override else {}
        for job in pipeline.deploy_jobs(done):
            done = pipeline.run_manual(stack, done, job, variables, echo=console.say)
    code, problems = (0 if done.succeeded else 1), list[str]()
    if arguments.deploy:
        code, problems = not_deployed(done)
    return Outcome(
        summary="\n".join([table(done), *problems]),
        data={**document(done), **({"deployed": not problems} if arguments.deploy else {})},
        exit_code=code,
    )


def not_deployed(done: PipelineRun) -> tuple[int, list[str]]:
    """What kept models from being deployed, and the exit code it makes: the deploy job's own, where it ran.

    Nothing, and 0, when every model is deployed.
    """
    jobs = pipeline.deployments(done)
    lines, codes = [], [] if done.succeeded else [1]
    if not jobs:
        lines.append("✗ Nothing was deployed: no job of this pipeline deploys a model")
        codes.append(UsageError.exit_code)
    for job in jobs:
        if job.state == "success":
            continue
        if job.exit_code is None:
            lines.append(f"✗ Not deployed: {job.name} was not offered, {_culprits(done)}")
            codes.append(1)
        else:
            lines += [f"✗ Not deployed: {job.name} ended with exit code {job.exit_code}", *_last_words(job)]
            codes.insert(0, job.exit_code)
    return (codes[0] if codes else 0), lines


def _culprits(done: PipelineRun) -> str:
    """What failed in the pipelines of a push."""
    broken = ("failed", "canceled")
    names = [job.name for one in (done, *done.downstream.values()) for job in one.jobs if job.state in broken]
    return f"because of {', '.join(names)}" if names else "because a job that it needs was skipped"


def _last_words(job: JobResult) -> list[str]:
    """The error that a job ended with, as it stands in its log, and where the log is."""
    text = job.log.read_text(encoding="utf-8", errors="replace") if job.log.exists() else ""
    said = text.rstrip().splitlines()[-_LAST_LINES:]
    begin = max((number for number, line in enumerate(said) if line.startswith("✗ ")), default=0)
    return [*(f"    {line}" for line in said[begin:]), f"  log: {job.log}"]


def as_repository(stack: Stack, folder: Path) -> Path:
    """The folder itself, or, for a folder inside another repository, a copy that is one of its own.

    The examples of this checkout are such folders: pushing from there would push ml-ops.

    Raises:
        SourceError: when there is no such folder, or git refuses.
    """
    if not (folder / "mlops.yml").is_file():
        raise SourceError(f"{folder} has no mlops.yml", next_step="Name the folder of a model repo.")
    if (folder / ".git").exists():
        return folder
    copy = stack.folder / "models" / folder.name
    copy.mkdir(parents=True, exist_ok=True)
    for old in copy.iterdir():
        if old.name != ".git":
            remove = shutil.rmtree if old.is_dir() else Path.unlink
            remove(old)
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache", ".venv", ".gitlab-ci-local", ".git")
    shutil.copytree(folder, copy, ignore=ignored, dirs_exist_ok=True)
    if not (copy / ".git").exists():
        git(copy, "init", "--quiet", f"--initial-branch={DEFAULT_BRANCH}")
        git(copy, "config", "user.name", "local")
        git(copy, "config", "user.email", "local@localhost")
    git(copy, "add", "--all")
    if git(copy, "status", "--porcelain"):
        git(copy, "commit", "--quiet", "--message", f"feat: {folder.name} as it is now")
    return copy


def push(stack: Stack, repository: Path) -> tuple[str, str]:
    """Push HEAD to the default branch of the repo's project, making the project where it is new.

    Returns:
        The project's path, and the commit.

    Raises:
        SourceError: when there is nothing to push, or git refuses.
    """
    project = f"{GROUP}/{repository.name.lower()}"
    create_project(stack.folder / "gitlab", project)
    url = f"{stack.gitlab_url}/{project}.git"
    # The local GitLab takes what it is given: a second clone of the same repo may have another history.
    git(repository, "push", "--quiet", "--force", url, f"HEAD:refs/heads/{DEFAULT_BRANCH}")
    return project, git(repository, "rev-parse", "HEAD")


def git(repository: Path, *arguments: str) -> str:
    """The output of git in a model repo.

    Raises:
        SourceError: when git refuses.
    """
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SourceError(
            f"git {arguments[0]} failed in {repository}",
            cause=done.stderr.strip(),
            next_step="Run this in a git repository with at least one commit.",
        )
    return done.stdout.strip()


def upload_data(stack: Stack, repository: Path, say: Callable[[str], None] = console.say) -> None:
    """Put the repo's sample data where the manifest's relative channels point, unless there is data already.

    In a company the data is on S3 before there is a model. Here `data/train/` of the repo becomes
    the channel whose prefix ends in `train/`.
    """
    from mlops.manifest import reader

    try:
        models = reader.load(repository / "mlops.yml").models
    except ManifestError:
        return  # the pipeline's own jobs say what is wrong with it
    s3 = sdk.client(stack, "s3")
    bucket = stack.outputs["bucket"]
    prefixes = {
        uri for model in models.values() for uri in (*model.training.channels.values(), model.evaluation.data)
    }
    for prefix in sorted(prefixes):
        folder = repository / "data" / PurePosixPath(prefix).name
        if "://" in prefix or not folder.is_dir():
            continue
        key = prefix.rstrip("/") + "/"
        if s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)["KeyCount"]:
            continue
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        for file in files:
            s3.upload_file(str(file), bucket, key + file.relative_to(folder).as_posix())
        say(f"- data/{folder.name}/ → s3://{bucket}/{key} ({len(files)} files)")


def table(done: PipelineRun) -> str:
    """One line a job, then the pipelines that its trigger jobs started, and what came back of them."""
    if done.reason:
        return f"{done.project} {done.commit[:8]}: GitLab makes no pipeline of this\n  {done.reason}"
    lines = [
        f"{done.project} {done.commit[:8]}: pipeline {done.id} {'passed' if done.succeeded else 'failed'}"
    ]
    width = max((len(job.name) for job in done.jobs), default=0) + 2
    for job in done.jobs:
        ran = job.exit_code is not None or job.name in done.downstream
        seconds = f"{job.seconds:6.1f} s" if ran else " " * 8
        started = done.downstream.get(job.name)
        arrow = f" → pipeline {started.id} of {started.project}" if started else ""
        lines.append(f"  {_SIGNS[job.state]} {job.name:<{max(width, 14)}}{seconds}  {job.state}{arrow}")
    lines.append(f"  {done.url}")
    for name, child in done.downstream.items():
        lines += ["", f"Started by {name}:", table(child)]
        lines += [f"  ← {note}" for note in came_back(done, name)]
    return "\n".join(lines)


def came_back(done: PipelineRun, name: str) -> list[str]:
    """What the upstream has of a pipeline that its trigger job started."""
    child = done.downstream[name]
    told = [f"the trigger job {name} is {done.job(name).state}"]
    told += [f"commit status {status['name']}: {status['status']}" for status in statuses(done, child)]
    if any(child.url in note for note in done.notes):
        told.append(f"a note on merge request !{done.trigger.merge_request}")
    return told


def statuses(done: PipelineRun, child: PipelineRun) -> list[dict[str, str]]:
    """The statuses of the upstream's commit that lead to the other pipeline."""
    found = [one for one in done.statuses if str(one["target_url"] or "").startswith(child.url)]
    return [{"name": str(one["name"]), "status": str(one["status"])} for one in found]


def document(done: PipelineRun) -> dict[str, object]:
    """The pipeline for `--json`."""
    return {
        "pipeline": None if done.reason else done.id,
        "reason": done.reason,
        "project": done.project,
        "url": None if done.reason else done.url,
        "commit": done.commit,
        "passed": done.succeeded,
        "variables": done.variables,
        "jobs": [
            {
                "name": job.name,
                "state": job.state,
                "exit_code": job.exit_code,
                "seconds": job.seconds,
                "log": str(job.log),
            }
            for job in done.jobs
        ],
        "downstream": {
            name: {**document(child), "statuses": statuses(done, child)}
            for name, child in done.downstream.items()
        },
    }


def _trigger(arguments: Namespace) -> PipelineTrigger:
    if arguments.merge_request:
        return PipelineTrigger(kind="merge_request", ref="topic", merge_request=arguments.merge_request)
    return PipelineTrigger(kind="schedule") if arguments.schedule else PipelineTrigger()
