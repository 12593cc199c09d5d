"""Runs the demo: prints each push as it happens, and writes the summary."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

from mlops import console, manifest
from mlops.errors import LocalStackError
from mlops.local import pipeline, sdk
from mlops.local.demo import summary as summaries
from mlops.local.demo.pushes import PUSHES, Push, commit, start_repository
from mlops.local.down import down
from mlops.local.pipeline import PipelineRun
from mlops.local.pipeline_variables import Trigger
from mlops.local.run import push as push_repository
from mlops.local.run import upload_data
from mlops.local.stack import Stack, require
from mlops.local.up import up
from mlops.outcome import Outcome

_WIDTH = 100
_VERDICT = re.compile(r"^[✓✗] |gate (passed|failed)$")


def demo(name: str, engine: str, summary: Path, *, keep: bool) -> Outcome:
    """Four pushes: a first model, an improvement, a documentation change, a model that is worse.

    Raises:
        LocalStackError: when a push does not end as it should; the log of the job says why.
    """
    name = "demo" if name == "default" else name
    started = time.monotonic()
    console.say(up(name, engine).summary)
    try:
        document, seconds = _pushes(require(name))
        summary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    finally:
        if not keep:
            console.say(down(name, every=False).summary)
    inbox = "\n".join(f"  {message['channel']:<6} {message['subject']}" for message in document["inbox"])
    return Outcome(
        summary=(
            f"\nFour pushes in {seconds:.0f} s, with start and stop {time.monotonic() - started:.0f} s\n\n"
            f"{summaries.table(document['pushes'])}\n\nInbox\n{inbox}\n\n"
            f"{document['endpoint']['name']} serves {document['endpoint']['model_version']}"
        ),
        data=document,
        next_steps=(f"read {summary}", "mlops local up, to keep a stack and push your own model repo"),
    )


def _pushes(stack: Stack) -> tuple[dict[str, Any], float]:
    """All pushes and the seconds they took; what they left is the summary's document."""
    repository = start_repository(stack.folder / "demo")
    upload_data(stack, repository)
    started = time.monotonic()
    pushes = []
    answer: dict[str, Any] = {}
    for number, push in enumerate(PUSHES, 1):
        done, seconds = _push(stack, repository, number, push)
        pushes.append(summaries.push_document(done, seconds))
        answer = _ask(stack, repository)
        console.say(f"  the endpoint answers {answer['predictions'][0]} as {answer['model']['version']}")
    took = time.monotonic() - started
    endpoint = manifest.deployment(manifest.load(repository / "mlops.yml").model()).endpoint_name
    return summaries.document(stack, pushes, summaries.endpoint_document(endpoint, answer)), took


def _push(stack: Stack, repository: Path, number: int, push: Push) -> tuple[PipelineRun, dict[str, float]]:
    """Commit, push, run the pipeline, click deploy."""
    console.say(f"\nPush {number}: {push.title}\n  $ git commit -m '{push.message}' && git push")
    started = time.monotonic()
    commit(repository, push)
    project, sha = push_repository(stack, repository)
    done = pipeline.run(stack, project, sha, Trigger(user="ada"), echo=_quiet)
    if not done.succeeded:
        failed = next(job for job in done.jobs if job.state == "failed")
        raise LocalStackError(
            f"The job '{failed.name}' of push {number} failed",
            cause=failed.log.read_text(encoding="utf-8", errors="replace")[-3000:],
            link=str(failed.log),
        )
    done = pipeline.run_manual(stack, done, "deploy", echo=_quiet)
    seconds = {job.name: job.seconds for job in done.jobs if job.exit_code is not None}
    for job in done.jobs:
        if job.exit_code is not None:
            console.say(f"  {job.name:<14}{job.seconds:6.1f} s  {job.state:<8} {_headline(job.log)}")
    seconds["total"] = round(time.monotonic() - started, 2)
    return done, seconds


def _ask(stack: Stack, repository: Path) -> dict[str, Any]:
    """Send the manifest's own sample request to the endpoint."""
    wanted = manifest.deployment(manifest.load(repository / "mlops.yml").model())
    response = sdk.client(stack, "sagemaker-runtime").invoke_endpoint(
        EndpointName=wanted.endpoint_name,
        ContentType=wanted.smoke_test.content_type,
        Body=wanted.smoke_test.body.encode(),
    )
    answer: dict[str, Any] = json.loads(response["Body"].read())
    return answer


def _headline(log: Path) -> str:
    """What a job came to: its verdict where it says one, else what it said last before what comes next."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    told = [line for line in lines if line and not line.startswith("next: ")]
    verdict = next((line for line in told if _VERDICT.search(line)), told[-1] if told else "")
    return verdict.strip("= ")[:_WIDTH]


def _quiet(_: str) -> None:
    """The whole output is in the jobs' logs; the demo prints a line a job."""
