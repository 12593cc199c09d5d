"""Trigger jobs, and what GitLab hands to the pipelines they start.

Facts, from GitLab's `app/models/ci/bridge.rb` and `lib/gitlab/ci/variables/downstream/generator.rb`:
* inputs go as they stand: a variable in them is not expanded. `expand_vars` in a template is, when the
  upstream pipeline is created (https://docs.gitlab.com/ci/inputs/#expand_vars);
* `forward: yaml_variables`, the default, passes the variables the CI file gives to the job, expanded with all
  that the job would see, dotenv reports of its needs included, but without what only a running job has;
* `forward: pipeline_variables` passes those the upstream pipeline itself was given, and the dotenv variables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

from mlops_local.gitlab.pipelines import Status

State = Literal["success", "failed", "warning", "manual", "skipped", "canceled", "running"]

# Around what `expand_vars` is asked for; gitlab-ci-local knows no functions of inputs.
_BEGIN, _END = "<expand_vars>", "</expand_vars>"
_FUNCTION = re.compile(r"\$\[\[\s*(inputs\.[\w-]+)\s*\|\s*expand_vars\s*\]\]")
_MARKED = re.compile(re.escape(_BEGIN) + "(.*?)" + re.escape(_END))
_REFERENCE = re.compile(r"\$\$|\$(?P<name>[A-Za-z_]\w*)|\$\{(?P<braced>[A-Za-z_]\w*)\}")
# What a trigger job does not have, because it never runs.
_OF_RUNNING_JOBS = ("CI_JOB_ID", "CI_JOB_URL", "CI_JOB_TOKEN", "CI_PROJECT_DIR", "CI_BUILDS_DIR")
_OF_THE_PIPELINE = ("CI_PIPELINE_ID", "CI_PIPELINE_URL", "CI_PIPELINE_CREATED_AT")


@dataclass(frozen=True, kw_only=True)
class TriggerJob:
    """What a CI file says of a job that starts a pipeline in another project."""

    project: str
    branch: str = ""
    strategy: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    """Those that the CI file gives to the job."""
    forward_yaml: bool = True
    forward_pipeline: bool = False


@dataclass(frozen=True, kw_only=True)
class DownstreamRequest:
    """The pipeline that a trigger job asks for; an empty `branch` is the project's default one."""

    project: str
    branch: str
    inputs: dict[str, Any]
    variables: dict[str, str]


def mark_functions(template: str) -> str:
    """A template in which one can find afterwards what `expand_vars` is asked for in inputs of triggers."""
    lines, depth = [], -1
    for line in template.splitlines(keepends=True):
        indent = len(line) - len(line.lstrip())
        if line.strip() == "trigger:":
            depth = indent
        elif line.strip() and indent <= depth:
            depth = -1
        lines.append(_FUNCTION.sub(rf"{_BEGIN}$[[ \1 ]]{_END}", line) if depth >= 0 else line)
    return "".join(lines)


def of_job(
    document: Mapping[str, Any], everywhere: Mapping[str, Any], matrix: Mapping[str, str]
) -> TriggerJob | None:
    """The trigger of a job, if it has one for another project.

    Args:
        document: The job, with all it extends.
        everywhere: The CI file's global variables.
        matrix: The variables of this one of the job's parallels.
    """
    trigger = document.get("trigger")
    if isinstance(trigger, str):
        trigger = {"project": trigger}
    if not isinstance(trigger, dict) or "project" not in trigger:
        return None
    forward = trigger.get("forward") or {}
    inherited = (document.get("inherit") or {}).get("variables", True)
    kept = (
        everywhere
        if inherited is True
        else {name: everywhere[name] for name in inherited or () if name in everywhere}
    )
    return TriggerJob(
        project=str(trigger["project"]),
        branch=str(trigger.get("branch") or ""),
        strategy=str(trigger.get("strategy") or ""),
        inputs=trigger.get("inputs") or {},
        variables={**_plain(kept), **_plain(document.get("variables") or {}), **matrix},
        forward_yaml=forward.get("yaml_variables", True) is True,
        forward_pipeline=forward.get("pipeline_variables", False) is True,
    )


def matrix_of(name: str, base: str, parallel: Any) -> dict[str, str] | None:
    """The variables of the parallel that is called `name`; None when it is none of them."""
    for variables in _parallels(parallel):
        # gitlab-ci-local leaves the spaces out.
        if name in {f"{base}: [{separator.join(variables.values())}]" for separator in (",", ", ")}:
            return variables
    return None


def request(
    job: TriggerJob, settings: Mapping[str, str], dotenv: Mapping[str, str], passed: Mapping[str, str]
) -> DownstreamRequest:
    """What GitLab asks the other project for.

    Args:
        job: The trigger job.
        settings: The CI variables of the upstream pipeline's jobs.
        dotenv: The dotenv variables of the jobs it needs.
        passed: The pipeline variables of the upstream pipeline.
    """
    known = {name: value for name, value in settings.items() if value and name not in _OF_RUNNING_JOBS}
    everything = {**known, **job.variables, **dotenv, **passed}
    early = {name: value for name, value in {**known, **passed}.items() if name not in _OF_THE_PIPELINE}
    variables: dict[str, str] = {}
    if job.forward_yaml:
        variables |= {name: _expanded(name, {**everything, **job.variables}) for name in job.variables}
    if job.forward_pipeline:
        variables |= {**dotenv, **passed}
    return DownstreamRequest(
        project=expand(job.project, everything, unknown=""),
        branch=expand(job.branch, everything, unknown=""),
        inputs={name: _as_it_stands(value, early) for name, value in job.inputs.items()},
        variables=variables,
    )


def state(strategy: str, pipeline: Status) -> State:
    """What becomes of a trigger job when its pipeline has nothing more to run.

    With `mirror` a pipeline that waits for a person shows in the trigger job as manual; with `depend` the job
    runs on.
    Without a strategy it has succeeded when there is a pipeline.
    """
    if not strategy:
        return "success"
    if strategy == "mirror":
        same: dict[Status, State] = {
            "success": "success",
            "canceled": "canceled",
            "manual": "manual",
            "skipped": "skipped",
        }
    else:
        same = {"success": "success", "canceled": "canceled", "manual": "running"}
    return same.get(pipeline, "failed")


def expand(text: str, variables: Mapping[str, str], unknown: str | None = None) -> str:
    """Put the values of variables in; a reference to none stays, or becomes `unknown`."""

    def value(match: re.Match[str]) -> str:
        name = match["name"] or match["braced"]
        return match[0] if name is None else variables.get(name, match[0] if unknown is None else unknown)

    return _REFERENCE.sub(value, text)


def _expanded(name: str, variables: Mapping[str, str], seen: tuple[str, ...] = ()) -> str:
    """A variable with those in it put in, and those in these; one that names itself stays as it is."""
    value = variables[name]
    inside = {match["name"] or match["braced"] for match in _REFERENCE.finditer(value)}
    values = {
        one: _expanded(one, variables, (*seen, name))
        for one in inside
        if one in variables and one not in (*seen, name)
    }
    return expand(value, values)


def _as_it_stands(value: Any, early: Mapping[str, str]) -> Any:
    """An input: expanded only if a template asked for it, by what is known before there is a pipeline."""
    if isinstance(value, str):
        return _MARKED.sub(lambda match: expand(match[1], early), value)
    if isinstance(value, list):
        return [_as_it_stands(one, early) for one in value]
    if isinstance(value, dict):
        return {name: _as_it_stands(one, early) for name, one in value.items()}
    return value


def _plain(variables: Mapping[str, Any]) -> dict[str, str]:
    """Variables that are words, or mappings with a `value`."""
    found = {name: one.get("value") if isinstance(one, dict) else one for name, one in variables.items()}
    return {name: _word(one) for name, one in found.items() if one is not None}


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parallels(parallel: Any) -> Iterator[dict[str, str]]:
    if not isinstance(parallel, dict):
        return
    for entry in parallel.get("matrix") or ():
        lists = [value if isinstance(value, list) else [value] for value in entry.values()]
        for values in product(*lists):
            yield dict(zip(entry, map(_word, values), strict=True))
