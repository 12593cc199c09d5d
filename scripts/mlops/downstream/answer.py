"""`mlops answer`: report to the upstream how its pipeline here went, as far as a token may write there.

A status on its commit leads to this pipeline, and the report stands on its merge request. Both are extras:
the upstream's trigger job shows the same state and link without any token.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mlops.base import console
from mlops.base.errors import GitLabError
from mlops.base.result import Outcome
from mlops.ci.pipeline import Pipeline
from mlops.contracts.upstream import TOKEN


class StatusTarget(Protocol):
    """What is needed of `clients.gitlab.GitLabProject`."""

    def put_note(self, merge_request: int, marker: str, text: str) -> None: ...

    def set_status(self, commit: str, status: Mapping[str, str]) -> None: ...


@dataclass(frozen=True, kw_only=True)
class ModelResult:
    """How the pipeline of a model went; `report` is what `evaluate` wrote, empty if it wrote nothing."""

    model: str
    state: str
    gate: str = ""
    version: str = ""
    report: str = ""

    @property
    def sentence(self) -> str:
        """One line for the commit's status; GitLab takes 255 characters."""
        if self.state != "success":
            return f"{self.model}: the pipeline failed"
        version = f" {self.version}" if self.version else ""
        gate = {"passed": ", the gate passed", "failed": ", the gate failed"}.get(self.gate, "")
        return f"{self.model}{version}: the pipeline succeeded{gate}"


def run(arguments: argparse.Namespace) -> Outcome:
    """Report it.

    Raises:
        SettingsError: when a variable of the pipeline is wrong.
    """
    from mlops.clients.gitlab.project import connect_upstream

    pipeline = Pipeline.from_environment(os.environ)
    report = Path(arguments.report) / "evaluation.md"
    result = ModelResult(
        model=arguments.model,
        state=arguments.state,
        gate=os.environ.get("GATE", ""),
        version=os.environ.get("MODEL_VERSION", "") or os.environ.get("IMAGE_VERSION", ""),
        report=report.read_text(encoding="utf-8") if report.is_file() else "",
    )
    return answer(result, pipeline, connect_upstream())


def answer(result: ModelResult, pipeline: Pipeline, project: StatusTarget | None) -> Outcome:
    """Set the status and write the note; what GitLab refuses is one line, and no failure."""
    if not pipeline.downstream:
        return Outcome(summary="Nothing is reported: the upstream is not known")
    upstream = pipeline.origin.project_path
    if project is None:
        return Outcome(summary=f"{upstream} has the trigger job's state and link; {TOKEN} is not set")
    reported: list[str] = []
    refused: list[str] = []

    def write_to(what: str, write: Callable[[StatusTarget], None]) -> None:
        try:
            write(project)
            reported.append(what)
        except GitLabError as error:
            refused.append(f"{error.what} ({error.cause})")

    status = {
        "state": result.state,
        "name": f"ml-ops/{result.model}",
        "target_url": pipeline.origin.pipeline_url,
        "description": result.sentence[:255],
        **({"pipeline_id": pipeline.upstream_pipeline_id} if pipeline.upstream_pipeline_id else {}),
    }
    write_to(
        f"the commit {pipeline.commit_sha[:8]}", lambda desk: desk.set_status(pipeline.commit_sha, status)
    )
    number, marker = pipeline.merge_request_iid, f"<!-- ml-ops:pipeline:{result.model} -->"
    if number is not None:
        text = _note(result, pipeline)
        write_to(f"the merge request !{number}", lambda desk: desk.put_note(number, marker, text))
    if refused:
        console.warn(f"{upstream} did not get the whole report: {'; '.join(refused)}")
    where = f"to {' and '.join(reported)} of" if reported else "nothing to"
    return Outcome(
        summary=f"Reported {where} {upstream}: {result.sentence}",
        data={"project": upstream, "told": reported, "state": result.state},
    )


def _note(result: ModelResult, pipeline: Pipeline) -> str:
    link = f"[Pipeline]({pipeline.origin.pipeline_url}) of {pipeline.commit_sha[:8]}: {result.sentence}."
    return f"{result.report.rstrip()}\n\n{link}" if result.report else link
