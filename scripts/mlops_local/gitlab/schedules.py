"""Pipeline schedules: https://docs.gitlab.com/api/pipeline_schedules/

Who may what is GitLab's rule for a maintainer: everybody reads, plays, deletes and takes ownership, but only
the owner edits. Nothing here starts by the clock; `play` leaves a pipeline that waits for a runner.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlops_local.gitlab import cron, pipelines, projects, records, users
from mlops_local.gitlab.api import Document, RefusedError
from mlops_local.gitlab.projects import LocalProject
from mlops_local.gitlab.users import User

# https://docs.gitlab.com/administration/instance_limits/#number-of-pipeline-schedules
_LIMIT = 10
_EDITABLE = ("description", "ref", "cron", "cron_timezone", "active")


def list_schedules(home: Path, project: LocalProject, scope: str, url: str) -> list[Document]:
    """GET /projects/:id/pipeline_schedules; `scope` is `active`, `inactive` or empty for all."""
    if scope not in ("", "active", "inactive"):
        raise RefusedError(400, "scope does not have a valid value")
    wanted = {"active": (True,), "inactive": (False,)}.get(scope, (True, False))
    return [
        _basic(home, one, url)
        for one in records.read(_file(home, project)).values()
        if one["active"] in wanted
    ]


def get_schedule(home: Path, project: LocalProject, number: int, url: str) -> Document:
    """GET /projects/:id/pipeline_schedules/:pipeline_schedule_id"""
    return _details(home, _find(records.read(_file(home, project)), number), url)


def list_pipelines(home: Path, project: LocalProject, number: int) -> list[pipelines.StoredPipeline]:
    """The pipelines that a schedule started, the oldest first."""
    played = _find(records.read(_file(home, project)), number)["pipelines"]
    return [found for one in played if (found := pipelines.find(home, one))]


def create_schedule(
    home: Path, project: LocalProject, user: User, body: Mapping[str, Any], url: str
) -> Document:
    """POST /projects/:id/pipeline_schedules; the caller owns it."""
    for name in ("description", "ref", "cron"):
        if not body.get(name):
            raise RefusedError(400, f"{name} is missing")
    with records.edit(home / "schedule-ids.json") as counter:
        counter["last"] = counter.get("last", 0) + 1
        number = counter["last"]
    with records.edit(_file(home, project)) as known:
        if len(known) >= _LIMIT:
            raise RefusedError(400, f"Maximum number of pipeline schedules ({_LIMIT}) exceeded")
        now = _now()
        known[str(number)] = {
            "id": number,
            **_checked(project, {"cron_timezone": "UTC", "active": True, **body}),
            "owner": user.username,
            "created_at": now,
            "updated_at": now,
            "variables": {},
            "inputs": _inputs({}, body.get("inputs")),
            "pipelines": [],
        }
        return _details(home, known[str(number)], url)


def update_schedule(  # pylint: disable=too-many-arguments,too-many-positional-arguments
    home: Path, project: LocalProject, user: User, number: int, body: Mapping[str, Any], url: str
) -> Document:
    """PUT /projects/:id/pipeline_schedules/:pipeline_schedule_id; the owner's alone."""
    with records.edit(_file(home, project)) as known:
        schedule = _find(known, number)
        _owned(schedule, user)
        schedule |= _checked(project, body)
        schedule |= {"updated_at": _now(), "inputs": _inputs(schedule["inputs"], body.get("inputs"))}
        return _details(home, schedule, url)


def take_ownership(
    home: Path, project: LocalProject, user: User, number: int, url: str
) -> tuple[Document, int]:
    """POST /projects/:id/pipeline_schedules/:pipeline_schedule_id/take_ownership

    Returns:
        The schedule, and 200 where it was the caller's already, else 201.
    """
    with records.edit(_file(home, project)) as known:
        schedule = _find(known, number)
        status = 200 if schedule["owner"] == user.username else 201
        schedule["owner"] = user.username
        return _details(home, schedule, url), status


def delete_schedule(home: Path, project: LocalProject, number: int) -> None:
    """DELETE /projects/:id/pipeline_schedules/:pipeline_schedule_id"""
    with records.edit(_file(home, project)) as known:
        _find(known, number)
        del known[str(number)]


def play(home: Path, project: LocalProject, user: User, number: int) -> Document:
    """POST /projects/:id/pipeline_schedules/:pipeline_schedule_id/play: a pipeline by who asks for it."""
    schedule = _find(records.read(_file(home, project)), number)
    branch = schedule["ref"].removeprefix("refs/heads/").removeprefix("refs/tags/")
    sha = projects.git(project.repository, "rev-parse", f"{schedule['ref']}^{{commit}}").strip()
    pipeline = pipelines.create(
        home,
        project,
        ref=branch,
        sha=sha,
        source="schedule",
        tag=schedule["ref"].startswith("refs/tags/"),
        created_at=_now(),
        user=user.username,
    )
    started(home, project, number, pipeline.id)
    return {"message": "201 Created"}


def started(home: Path, project: LocalProject, number: int, pipeline: int) -> None:
    """Remember that a schedule started a pipeline."""
    with records.edit(_file(home, project)) as known:
        _find(known, number)["pipelines"].append(pipeline)


def put_variable(  # pylint: disable=too-many-arguments,too-many-positional-arguments
    home: Path, project: LocalProject, user: User, number: int, key: str, body: Mapping[str, Any]
) -> Document:
    """POST …/variables where `key` is empty, else PUT …/variables/:key"""
    with records.edit(_file(home, project)) as known:
        schedule = _find(known, number)
        _owned(schedule, user)
        name = key or str(body.get("key") or "")
        if not name:
            raise RefusedError(400, "key is missing")
        if body.get("value") is None:
            raise RefusedError(400, "value is missing")
        if key and key not in schedule["variables"]:
            raise RefusedError(404, "404 Variable Not Found")
        if not key and name in schedule["variables"]:
            raise RefusedError(400, f"({name}) has already been taken")
        kind = str(body.get("variable_type") or "env_var")
        variable = {"key": name, "variable_type": kind, "value": str(body["value"]), "raw": False}
        schedule["variables"][name] = variable
        return variable


def delete_variable(home: Path, project: LocalProject, user: User, number: int, key: str) -> Document:
    """DELETE …/variables/:key answers what was deleted."""
    with records.edit(_file(home, project)) as known:
        schedule = _find(known, number)
        _owned(schedule, user)
        if key not in schedule["variables"]:
            raise RefusedError(404, "404 Variable Not Found")
        deleted: Document = schedule["variables"].pop(key)
        return deleted


def deactivate_of(home: Path, username: str) -> None:
    """What GitLab does when somebody is blocked: their schedules run no more."""
    for file in home.glob("schedules-*.json"):
        with records.edit(file) as known:
            for schedule in known.values():
                if schedule["owner"] == username:
                    schedule["active"] = False


def _find(known: Mapping[str, Any], number: int) -> Document:
    schedule: Document | None = known.get(str(number))
    if schedule is None:
        raise RefusedError(404, "404 Pipeline Schedule Not Found")
    return schedule


def _owned(schedule: Document, user: User) -> None:
    if schedule["owner"] != user.username:
        raise RefusedError(403, "403 Forbidden")


def _checked(project: LocalProject, body: Mapping[str, Any]) -> Document:
    """The attributes of a request that a schedule has, as GitLab keeps them."""
    words = {"true": True, "false": False}
    given = {name: words.get(str(body[name]).lower(), body[name]) for name in _EDITABLE if name in body}
    if "cron_timezone" in given and not cron.valid_zone(given["cron_timezone"]):
        raise RefusedError(400, {"cron_timezone": ["syntax is invalid"]})
    if "cron" in given and cron.next_run(given["cron"], "UTC", datetime.now(UTC)) is None:
        raise RefusedError(400, {"cron": ["syntax is invalid"]})
    if "ref" in given:
        given["ref"] = _full_ref(project, given["ref"])
    return given


def _full_ref(project: LocalProject, ref: str) -> str:
    """A short name becomes the branch or the tag it names; any other stays, and fails when it is played."""
    found = projects.git(project.repository, "for-each-ref", "--format=%(refname)").split()
    names = [name for name in (f"refs/heads/{ref}", f"refs/tags/{ref}") if name in found]
    return names[0] if len(names) == 1 else ref


def _inputs(now: Mapping[str, Any], changes: Any) -> Document:
    """Inputs by name after a request; one with `destroy` goes."""
    kept = dict(now)
    for change in changes if isinstance(changes, list) else []:
        if change.get("destroy"):
            kept.pop(change["name"], None)
        else:
            kept[change["name"]] = change.get("value")
    return kept


def _basic(home: Path, schedule: Document, url: str) -> Document:
    owner = users.find(home, schedule["owner"])
    following = cron.next_run(schedule["cron"], schedule["cron_timezone"], datetime.now(UTC))
    return {
        **{name: schedule[name] for name in ("id", *_EDITABLE, "created_at", "updated_at")},
        "next_run_at": _stamp(following) if following else None,
        "owner": users.basic(owner, url) if owner else None,
        "inputs": [{"name": name, "value": value} for name, value in schedule["inputs"].items()],
    }


def _details(home: Path, schedule: Document, url: str) -> Document:
    numbers = schedule["pipelines"]
    last = pipelines.find(home, numbers[-1]) if numbers else None
    return {
        **_basic(home, schedule, url),
        "last_pipeline": {"id": last.id, "sha": last.sha, "ref": last.ref, "status": last.status}
        if last
        else None,
        "variables": list(schedule["variables"].values()),
    }


def _file(home: Path, project: LocalProject) -> Path:
    return home / f"schedules-{project.id}.json"


def _now() -> str:
    return _stamp(datetime.now(UTC))


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
