"""Commit statuses: what a pipeline's jobs and others say of a commit.

https://docs.gitlab.com/api/commits/#list-the-statuses-of-a-commit
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlops_local.gitlab import api, pipelines, projects, records, users
from mlops_local.gitlab.api import Document, RefusedError
from mlops_local.gitlab.projects import LocalProject
from mlops_local.gitlab.users import User

_STATES = {
    "pending": "enqueue", "running": "run", "success": "success", "failed": "drop",
    "canceled": "cancel", "skipped": "skip",
}  # fmt: skip
_OPEN = ("pending", "running")
FIRST_ID = 900_000_001
"""Of the statuses that are not jobs."""


def list_statuses(
    home: Path, project: LocalProject, sha: str, query: Mapping[str, str], url: str
) -> list[Document]:
    """GET /projects/:id/repository/commits/:sha/statuses; the last of each name, or `all`."""
    commit = api.commit_of(project, sha)
    if not commit:
        raise RefusedError(404, "404 Commit Not Found")
    found = [*_of_jobs(home, project, commit, url), *_kept(home, project).get(commit, [])]
    for name in ("ref", "stage", "name", "pipeline_id"):
        if query.get(name):
            found = [one for one in found if str(one.get(name)) == query[name]]
    if query.get("all") != "true":
        found = list({(one["name"], one["ref"]): one for one in found}.values())
    return [{name: value for name, value in one.items() if name != "stage"} for one in found]


def create_status(  # pylint: disable=too-many-arguments,too-many-positional-arguments,too-many-locals
    home: Path, project: LocalProject, user: User, sha: str, body: Mapping[str, Any], url: str
) -> Document:
    """POST /projects/:id/statuses/:sha; one that is not over yet is changed, else there is a new one."""
    state = str(body.get("state") or "")
    _check(state, body)
    commit = api.commit_of(project, sha)
    if not commit:
        raise RefusedError(404, "404 Commit Not Found")
    name = str(body.get("name") or body.get("context") or "default")
    pipeline = _pipeline(home, project, commit, body, user)
    with records.edit(_file(home, project)) as known:
        statuses = known.setdefault(commit, [])
        alike = [
            one
            for one in statuses
            if (one["name"], one["ref"], one["pipeline_id"]) == (name, pipeline.ref, pipeline.id)
            and one["author"]["username"] == user.username
            and one["status"] in _OPEN
        ]
        if alike and alike[0]["status"] == state:
            event = _STATES[state]
            raise RefusedError(
                400,
                f"Cannot transition status via :{event} from :{state} "
                f'(Reason(s): Status cannot transition via "{event}")',
            )
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        status = alike[0] if alike else {
            "id": FIRST_ID + sum(len(one) for one in known.values()),
            "sha": commit,
            "ref": pipeline.ref,
            "name": name,
            "stage": "external",
            "created_at": now,
            "started_at": None,
            "finished_at": None,
            "target_url": None,
            "description": None,
            "coverage": None,
            "allow_failure": False,
            "pipeline_id": pipeline.id,
            "author": users.basic(user, url),
        }  # fmt: skip
        status["status"] = state
        status |= {key: body[key] for key in ("target_url", "description", "coverage") if key in body}
        if state == "running":
            status["started_at"] = now
        elif state not in _OPEN:
            status["finished_at"] = now
        if not alike:
            statuses.append(status)
        return {key: value for key, value in status.items() if key != "stage"}


def _check(state: str, body: Mapping[str, Any]) -> None:
    if not state:
        raise RefusedError(400, "state is missing")
    if state not in _STATES:
        raise RefusedError(400, "state does not have a valid value")
    for name, limit in (("description", 255), ("name", 255), ("target_url", 255)):
        if len(str(body.get(name) or "")) > limit:
            raise RefusedError(400, {name: [f"is too long (maximum is {limit} characters)"]})
    target = str(body.get("target_url") or "")
    if target and not target.startswith(("http://", "https://")):
        raise RefusedError(400, {"target_url": ["is blocked: Only allowed schemes are http, https"]})


def _pipeline(
    home: Path, project: LocalProject, commit: str, body: Mapping[str, Any], user: User
) -> pipelines.StoredPipeline:
    """The commit's newest pipeline that fits the request; an external one where there is none."""
    found = pipelines.of_commit(home, project, commit)
    if body.get("ref"):
        found = [one for one in found if one.ref == body["ref"]]
    if body.get("pipeline_id"):
        found = [one for one in found if str(one.id) == str(body["pipeline_id"])]
        if not found:
            raise RefusedError(404, "404 Pipeline for pipeline_id, sha and ref Not Found")
    if found:
        return found[0]
    shape = ("for-each-ref", "--format=%(refname:strip=2)", f"--contains={commit}", "refs/heads")
    ref = str(body.get("ref") or next(iter(projects.git(project.repository, *shape).split()), ""))
    if not ref:
        raise RefusedError(404, "404 References for commit Not Found")
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return pipelines.create(
        home,
        project,
        ref=ref,
        sha=commit,
        source="external",
        tag=False,
        created_at=now,
        user=user.username,
    )


def _of_jobs(home: Path, project: LocalProject, commit: str, url: str) -> list[Document]:
    """Jobs are statuses too."""
    return [
        {
            "id": job.id,
            "sha": commit,
            "ref": pipeline.ref,
            "status": job.status,
            "name": job.name,
            "stage": job.stage,
            "target_url": f"{url}/{project.path}/-/jobs/{job.id}",
            "description": None,
            "created_at": pipeline.created_at,
            "started_at": None,
            "finished_at": job.finished_at or None,
            "allow_failure": job.allow_failure,
            "coverage": None,
            "pipeline_id": pipeline.id,
            "author": users.basic(users.find(home, pipeline.user) or users.LOCAL, url),
        }
        for pipeline in reversed(pipelines.of_commit(home, project, commit))
        for job in pipeline.jobs
    ]


def _kept(home: Path, project: LocalProject) -> records.Record:
    return records.read(_file(home, project))


def _file(home: Path, project: LocalProject) -> Path:
    return home / f"statuses-{project.id}.json"
