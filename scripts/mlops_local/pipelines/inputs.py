"""Whether a pipeline takes the inputs it is given, as GitLab decides it when the pipeline is created.

gitlab-ci-local takes inputs that a CI file does not declare, and checks only those the file uses.
https://docs.gitlab.com/ci/inputs/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from mlops.base.errors import LocalStackError
from mlops_local.gitlab import projects
from mlops_local.gitlab.projects import LocalProject

# https://docs.gitlab.com/ci/inputs/#for-a-pipeline
_LIMIT = 20
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
}


def check(project: LocalProject, branch: str, given: Mapping[str, Any]) -> None:
    """Compare inputs with what the project's CI file declares.

    Raises:
        LocalStackError: when GitLab would create no pipeline, with its reasons.
    """
    declared = _declared(project, branch)
    problems = [*_unknown(declared, given), *_wrong(declared, given)]
    if len(given) > _LIMIT:
        problems.append(f"{len(given)} inputs were given; a pipeline takes {_LIMIT}")
    if problems:
        raise LocalStackError("The pipeline's inputs are not valid", cause="; ".join(problems))


def _declared(project: LocalProject, branch: str) -> Mapping[str, Any]:
    """The inputs of the header; none if the CI file has no header, or is none."""
    text = projects.git(project.repository, "show", f"refs/heads/{branch}:.gitlab-ci.yml")
    header, separator, _ = text.partition("\n---\n")
    document = yaml.safe_load(header) if separator else {}
    spec = document.get("spec") if isinstance(document, dict) else None
    return (spec or {}).get("inputs") or {}


def _unknown(declared: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    names = ", ".join(name for name in given if name not in declared)
    if names:
        yield f"Given inputs not defined in the `spec` section of the included configuration file: {names}"


def _wrong(declared: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    for name, entry in declared.items():
        rule = entry or {}
        if name not in given:
            if "default" not in rule:
                yield f"`{name}` input: required value has not been provided"
            continue
        value, kind = given[name], rule.get("type", "string")
        if not isinstance(value, _TYPES[kind]) or (kind == "number" and isinstance(value, bool)):
            yield f"`{name}` input: provided value is not a {kind}"
        elif rule.get("options") and value not in rule["options"]:
            yield f"`{name}` input: `{value}` cannot be used because it is not in the list of allowed options"
        elif rule.get("regex") and not re.search(rule["regex"], str(value)):
            yield f"`{name}` input: provided value does not match required RegEx pattern"
