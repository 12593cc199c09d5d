"""Runs the demo: prints each push as it happens, and writes the summary."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

from mlops.base import console
from mlops.base.errors import LocalStackError
from mlops.base.result import Outcome
from mlops.manifest import reader
from mlops_local.command.down import down
from mlops_local.command.run import came_back, upload_data
from mlops_local.command.run import push as push_repository
from mlops_local.command.up import up
from mlops_local.demo import summary as summaries
from mlops_local.demo.pushes import EXAMPLE, PUSHES, Push, commit, start_repository
from mlops_local.pipelines import pipeline
from mlops_local.pipelines.job_board import JobResult
from mlops_local.pipelines.pipeline import PipelineRun
from mlops_local.pipelines.variables import PipelineTrigger
from mlops_local.stack import sdk
from mlops_local.stack.stack import Stack, require

_WIDTH = 100
_VERDICT = re.compile(r"^[✓✗] |gate (passed|failed)$")


def demo(name: str, engine: str, summary: Path, *, keep: bool, fresh: bool = False) -> Outcome:
    """Five pushes: a first model, an improvement, a change of documentation, a model that is worse, and a
    repository whose pipeline runs in the platform's project.

    Raises:
        LocalStackError: when a push does not end as it should; the log of the job says why.
    """
    name = "demo" if name == "default" else name
    started = time.monotonic()
    console.say(up(name, engine, fresh=fresh).summary)
    try:
        document, seconds = _pushes(require(name))
        summary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    finally:
        if not keep:
            console.say(down(name, every=False).summary)
    inbox = "\n".join(f"  {message['channel']:<6} {message['subject']}" for message in document["inbox"])
    return Outcome(
        summary=(
            f"\nFive pushes in {seconds:.0f} s, with start and stop {time.monotonic() - started:.0f} s\n\n"
            f"{summaries.table(document['pushes'])}\n\nInbox\n{inbox}\n\n"
            f"{_serving(document['pushes'])}"
        ),
        data=document,
        next_steps=(f"read {summary}", "mlops local up, to keep a stack and push your own model repo"),
    )


def _pushes(stack: Stack) -> tuple[dict[str, Any], float]:
    """All pushes and the seconds they took; what they left is the summary's document."""
    started = time.monotonic()
    repositories: dict[str, Path] = {}
    pushes = []
    for number, push in enumerate(PUSHES, 1):
        if push.example not in repositories:
            repositories[push.example] = start_repository(stack.folder / "demo", push)
            upload_data(stack, repositories[push.example])
        done, seconds = _push(stack, repositories[push.example], number, push)
        answer = _ask(stack, repositories[push.example], push.model)
        pushes.append({**summaries.push_document(done, seconds), "endpoint": answer})
        console.say(f"  the endpoint answers {answer['prediction']} as {answer['model_version']}")
    took = time.monotonic() - started
    first = [push for push, made in zip(pushes, PUSHES, strict=True) if made.model == EXAMPLE]
    return summaries.document(stack, pushes, first[-1]["endpoint"]), took


def _push(stack: Stack, repository: Path, number: int, push: Push) -> tuple[PipelineRun, dict[str, float]]:
    """Commit, push, run the pipeline, click deploy."""
    console.say(f"\nPush {number}: {push.title}\n  $ git commit -m '{push.message}' && git push")
    started = time.monotonic()
    commit(repository, push)
    project, sha = push_repository(stack, repository)
    done = pipeline.run(stack, project, sha, PipelineTrigger(user="ada"), echo=_quiet)
    if not done.succeeded:
        failed = next(job for job in _all_jobs(done)[::-1] if job.state == "failed")
        raise LocalStackError(
            f"The job '{failed.name}' of push {number} failed",
            cause=failed.log.read_text(encoding="utf-8", errors="replace")[-3000:],
            link=str(failed.log),
        )
    for name in pipeline.deploy_jobs(done):
        done = pipeline.run_manual(stack, done, name, echo=_quiet)
    ran = [job for job in _all_jobs(done) if job.exit_code is not None]
    seconds = {job.name.rpartition(":")[2]: job.seconds for job in ran}
    width = max(len(job.name) for job in ran) + 2
    for job in ran:
        console.say(
            f"  {job.name:<{max(width, 14)}}{job.seconds:6.1f} s  {job.state:<8} {_headline(job.log)}"
        )
    for name, child in done.downstream.items():
        console.say(f"  {name} → {child.project}: {', '.join(came_back(done, name))}")
    seconds["total"] = round(time.monotonic() - started, 2)
    return done, seconds


def _all_jobs(done: PipelineRun) -> list[JobResult]:
    """The jobs of a push, those in the platform's project last; trigger jobs run nothing themselves."""
    children = [job for child in done.downstream.values() for job in _all_jobs(child)]
    return [*(job for job in done.jobs if job.name not in done.downstream), *children]


def _serving(pushes: list[dict[str, Any]]) -> str:
    """One line an endpoint."""
    versions = {push["endpoint"]["name"]: push["endpoint"]["model_version"] for push in pushes}
    return "\n".join(f"{name} serves {version}" for name, version in versions.items())


def _ask(stack: Stack, repository: Path, model: str) -> dict[str, Any]:
    """What the endpoint answers to the manifest's own sample request."""
    wanted = reader.deployment(reader.load(repository / "mlops.yml").model(model))
    response = sdk.client(stack, "sagemaker-runtime").invoke_endpoint(
        EndpointName=wanted.endpoint_name,
        ContentType=wanted.smoke_test.content_type,
        Body=wanted.smoke_test.body.encode(),
    )
    return summaries.endpoint_document(wanted.endpoint_name, json.loads(response["Body"].read()))


def _headline(log: Path) -> str:
    """What a job came to: its verdict where it says one, else what it said last before what comes next."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    told = [line for line in lines if line and not line.startswith(("next: ", "$ "))]
    verdict = next((line for line in told if _VERDICT.search(line)), told[-1] if told else "")
    return verdict.strip("= ")[:_WIDTH]


def _quiet(_: str) -> None:
    """The whole output is in the jobs' logs; the demo prints a line a job."""
