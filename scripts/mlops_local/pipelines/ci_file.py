"""What GitLab refuses in a CI file and gitlab-ci-local takes: it would run other jobs than GitLab, or hang.

The sentences are GitLab's, from `lib/gitlab/ci/config/entry/`, `lib/gitlab/ci/yaml_processor/dag.rb` and
`lib/gitlab/ci/pipeline/`. What GitLab takes and the local GitLab does not play is refused by name.
"""

from __future__ import annotations

import graphlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlops.base.errors import LocalStackError

FILTERED = "Pipeline filtered out by workflow rules."
NO_JOBS = (
    "Pipeline will not run for the selected trigger. "
    "The rules configuration prevented any jobs from being added to the pipeline."
)
# https://docs.gitlab.com/ci/yaml/#global-keywords, and what of jobs may stand at the top.
_GLOBAL = {
    "after_script",
    "before_script",
    "cache",
    "default",
    "image",
    "include",
    "services",
    "spec",
    "stages",
}
_GLOBAL |= {"variables", "workflow"}
_POLICIES = ("only", "except")
ID_TOKEN = "MLOPS_ID_TOKEN"  # noqa: S105  # a variable's name

Document = Mapping[str, Any]


class NoPipelineError(LocalStackError):
    """GitLab creates no pipeline, and rightly so: the rules say that this change has none."""


def jobs(ci_file: Document) -> dict[str, Document]:
    """The jobs of a CI file with all that it includes, by name; hidden ones are left out."""
    return {
        name: job
        for name, job in ci_file.items()
        if name not in _GLOBAL and not name.startswith(".") and isinstance(job, dict)
    }


def check(ci_file: Document) -> None:
    """Refuse a CI file that GitLab refuses, whatever kind of pipeline it is for.

    Args:
        ci_file: With all that it includes and extends.

    Raises:
        LocalStackError: with GitLab's sentences.
    """
    found = jobs(ci_file)
    problems = [*_mixed(found), *_circles(found)]
    if not found:
        problems.append("jobs config should contain at least one visible job")
    if problems:
        raise invalid("\n".join(problems))
    old = [f"{name} ({', '.join(words)})" for name, job in found.items() if (words := _policies(job))]
    if old:
        raise LocalStackError(
            "The local GitLab does not evaluate `only` and `except`",
            cause=f"they decide about: {', '.join(old)}",
            next_step="Write rules instead: `only: [main]` is "
            "`rules: [{if: '$CI_COMMIT_BRANCH == \"main\"'}]`, and `except: [tags]` is "
            "`rules: [{if: $CI_COMMIT_TAG, when: never}, {when: on_success}]`.",
            link="https://docs.gitlab.com/ci/yaml/deprecated_keywords/#only--except",
        )


def check_needs(needs: Mapping[str, Sequence[str]], names: Sequence[str]) -> None:
    """Refuse a pipeline in which a job needs one that the rules left out.

    Args:
        needs: What each job of the pipeline needs and cannot do without.
        names: The jobs of the pipeline, parallels under the job's own name too.

    Raises:
        LocalStackError: with GitLab's sentences.
    """
    problems = [
        f"'{name}' job needs '{need}' job, but '{need}' does not exist in the pipeline. "
        "This might be because of the only, except, or rules keywords. "
        "To need a job that sometimes does not exist in the pipeline, use needs:optional."
        for name, wanted in needs.items()
        for need in wanted
        if need not in names
    ]
    if problems:
        raise invalid("\n".join(problems))


def check_children(planned: Mapping[str, Document]) -> None:
    """Refuse a pipeline that starts a child pipeline: it would be played, and its outcome thrown away.

    Raises:
        LocalStackError: with the names of the jobs.
    """
    found = [
        name
        for name, job in planned.items()
        if isinstance(job.get("trigger"), dict) and "include" in job["trigger"]
    ]
    if found:
        raise LocalStackError(
            "The local GitLab plays no child pipelines (`trigger: include`)",
            cause=f"these jobs start one: {', '.join(found)}",
            next_step="Keep these jobs out with rules, or include their file in this pipeline.",
        )


def audiences(ci_file: Document) -> dict[str, str]:
    """For whom each job's ID token is, by the job's name."""
    return {
        name: job["id_tokens"][ID_TOKEN]["aud"]
        for name, job in jobs(ci_file).items()
        if ID_TOKEN in (job.get("id_tokens") or {})
    }


def workflow_rules(ci_file: Document) -> list[dict[str, Any]]:
    """The rules of `workflow`, as far as they decide whether there is a pipeline."""
    rules = (ci_file.get("workflow") or {}).get("rules") or []
    known = ("if", "changes", "exists", "when")
    return [{key: rule[key] for key in known if key in rule} for rule in rules if isinstance(rule, dict)]


def invalid(reasons: str) -> LocalStackError:
    """The error for a CI file that GitLab does not make a pipeline of."""
    return LocalStackError(
        "The pipeline's CI file is not valid",
        cause=reasons,
        next_step="Correct .gitlab-ci.yml; docs/reference/templates.md lists the inputs.",
    )


def _policies(job: Document) -> list[str]:
    return [word for word in _POLICIES if job.get(word) is not None]


def _mixed(found: Mapping[str, Document]) -> Iterator[str]:
    for name, job in found.items():
        words = _policies(job)
        if words and job.get("rules") is not None:
            yield f"jobs:{name} config key may not be used with `rules`: {', '.join(words)}"


def _circles(found: Mapping[str, Document]) -> Iterator[str]:
    graph = {name: _needs(job) for name, job in found.items()}
    for name, needs in graph.items():
        if name in needs:
            yield f"The pipeline has circular dependencies: self-dependency: {name}"
            return
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        names = json.dumps(error.args[1][1:])
        yield f"The pipeline has circular dependencies: topological sort failed: {names}"


def _needs(job: Document) -> list[str]:
    """The jobs of the same pipeline that a job needs."""
    found = []
    for need in job.get("needs") or ():
        if isinstance(need, str):
            found.append(need)
        elif isinstance(need, dict) and "job" in need and not {"project", "pipeline"} & set(need):
            found.append(str(need["job"]))
    return found
