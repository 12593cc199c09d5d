"""GitLab's predefined variables, as a runner of the local GitLab gives them to its jobs.

https://docs.gitlab.com/ci/variables/predefined_variables/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mlops_local.gitlab.pipelines import StoredPipeline
from mlops_local.gitlab.projects import DEFAULT_BRANCH
from mlops_local.gitlab.users import PROJECT_TOKEN
from mlops_local.stack.stack import TEMPLATES_PROJECT

UPSTREAM_ENVIRONMENT = "upstream"

Kind = Literal["push", "merge_request", "tag", "schedule", "pipeline"]

SOURCES: dict[Kind, str] = {
    "push": "push",
    "merge_request": "merge_request_event",
    "tag": "push",
    "schedule": "schedule",
    "pipeline": "pipeline",
}


@dataclass(frozen=True, kw_only=True)
class TriggeringJob:
    """The trigger job that started a pipeline, its pipeline and its project."""

    job: int
    pipeline: int
    project: int


@dataclass(frozen=True, kw_only=True)
class PipelineTrigger:
    """Why a pipeline runs. `ref` is the branch, the tag, or a merge request's source branch."""

    kind: Kind = "push"
    ref: str = DEFAULT_BRANCH
    merge_request: int = 0
    user: str = "local"
    upstream: TriggeringJob | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    """Pipeline variables: what its starter passed on."""


@dataclass(frozen=True, kw_only=True)
class CommitDetails:
    """What the variables say of a commit."""

    sha: str
    before: str
    message: str
    author: str
    timestamp: str


def predefined(
    pipeline: StoredPipeline, trigger: PipelineTrigger, commit: CommitDetails, server: str
) -> dict[str, str]:
    """The variables that are the same for all jobs of a pipeline.

    A variable that GitLab leaves unset in a kind of pipeline is empty here: rules see no difference.
    """
    group, _, name = pipeline.project_path.rpartition("/")
    title, _, description = commit.message.partition("\n")
    host, _, port = server.removeprefix("http://").partition(":")
    url = f"{server}/{pipeline.project_path}"
    return {
        "CI": "true",
        "GITLAB_CI": "true",
        "CI_SERVER": "yes",
        "CI_SERVER_URL": server,
        "CI_SERVER_HOST": host,
        "CI_SERVER_PORT": port,
        "CI_SERVER_PROTOCOL": "http",
        "CI_SERVER_FQDN": f"{host}:{port}",
        "CI_API_V4_URL": f"{server}/api/v4",
        "CI_PROJECT_ID": str(pipeline.project_id),
        "CI_PROJECT_NAME": name,
        "CI_PROJECT_NAMESPACE": group,
        "CI_PROJECT_PATH": pipeline.project_path,
        "CI_PROJECT_PATH_SLUG": slug(pipeline.project_path),
        "CI_PROJECT_URL": url,
        "CI_REPOSITORY_URL": f"{url}.git",
        "CI_DEFAULT_BRANCH": DEFAULT_BRANCH,
        "CI_PIPELINE_ID": str(pipeline.id),
        "CI_PIPELINE_IID": str(pipeline.iid),
        "CI_PIPELINE_SOURCE": SOURCES[trigger.kind],
        "CI_PIPELINE_URL": f"{url}/-/pipelines/{pipeline.id}",
        "CI_PIPELINE_CREATED_AT": pipeline.created_at,
        "CI_COMMIT_SHA": commit.sha,
        "CI_COMMIT_SHORT_SHA": commit.sha[:8],
        "CI_COMMIT_BEFORE_SHA": commit.before or "0" * 40,
        "CI_COMMIT_TITLE": title,
        "CI_COMMIT_MESSAGE": commit.message,
        "CI_COMMIT_DESCRIPTION": description.strip(),
        "CI_COMMIT_AUTHOR": commit.author,
        "CI_COMMIT_TIMESTAMP": commit.timestamp,
        "CI_COMMIT_REF_NAME": trigger.ref,
        "CI_COMMIT_REF_SLUG": slug(trigger.ref),
        "CI_COMMIT_REF_PROTECTED": str(trigger.ref == DEFAULT_BRANCH).lower(),
        "CI_COMMIT_BRANCH": trigger.ref if trigger.kind in ("push", "schedule", "pipeline") else "",
        "CI_COMMIT_TAG": trigger.ref if trigger.kind == "tag" else "",
        **_merge_request(pipeline, trigger),
        **_upstream(trigger.upstream),
        "GITLAB_USER_LOGIN": trigger.user,
        "GITLAB_USER_NAME": trigger.user,
        "GITLAB_USER_EMAIL": f"{trigger.user}@localhost",
        "MLOPS_GITLAB_TOKEN": PROJECT_TOKEN,
    }


def _merge_request(pipeline: StoredPipeline, trigger: PipelineTrigger) -> dict[str, str]:
    if trigger.kind != "merge_request":
        return {"CI_MERGE_REQUEST_IID": "", "CI_OPEN_MERGE_REQUESTS": ""}
    return {
        "CI_MERGE_REQUEST_IID": str(trigger.merge_request),
        "CI_MERGE_REQUEST_ID": str(trigger.merge_request),
        "CI_MERGE_REQUEST_EVENT_TYPE": "detached",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": trigger.ref,
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": DEFAULT_BRANCH,
        "CI_MERGE_REQUEST_PROJECT_ID": str(pipeline.project_id),
        "CI_MERGE_REQUEST_PROJECT_PATH": pipeline.project_path,
        "CI_OPEN_MERGE_REQUESTS": f"{pipeline.project_path}!{trigger.merge_request}",
    }


def _upstream(upstream: TriggeringJob | None) -> dict[str, str]:
    """Since GitLab 18.9."""
    if upstream is None:
        return {}
    return {
        "CI_UPSTREAM_JOB_ID": str(upstream.job),
        "CI_UPSTREAM_PIPELINE_ID": str(upstream.pipeline),
        "CI_UPSTREAM_PROJECT_ID": str(upstream.project),
    }


def of_environment(project: str, environment: str) -> dict[str, str]:
    """Project variables with an environment scope, which only the jobs of that environment get.

    The platform's project holds the token it reads model repos with where no job runs their code.
    """
    if (project, environment) == (TEMPLATES_PROJECT, UPSTREAM_ENVIRONMENT):
        return {"MLOPS_UPSTREAM_TOKEN": PROJECT_TOKEN}
    return {}


def slug(text: str) -> str:
    """A name as GitLab shortens it for host names: at most 63 of a-z, 0-9 and inner hyphens."""
    return re.sub(r"[^a-z0-9]", "-", text.lower())[:63].strip("-")
