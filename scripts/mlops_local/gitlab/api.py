"""The part of GitLab's REST API that we call: tags, releases, commits, merge request notes.

Each function answers what GitLab documents at https://docs.gitlab.com/api/rest/, and raises `RefusedError`
with GitLab's own status and message where it does.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlops.base.errors import LocalStackError
from mlops_local.gitlab import projects, records
from mlops_local.gitlab.projects import LocalProject

Document = dict[str, Any]

_MAINTAINER = 40

_COMMIT = "%x00".join(("%H", "%h", "%P", "%s", "%an", "%ae", "%aI", "%cn", "%ce", "%cI", "%B"))


@dataclass
class RefusedError(Exception):
    """An answer that is not a success."""

    status: int
    message: Any


def project_document(project: LocalProject, url: str) -> Document:
    """GET /projects/:id"""
    group, _, name = project.path.rpartition("/")
    return {
        "id": project.id,
        "name": name,
        "path": name,
        "path_with_namespace": project.path,
        "default_branch": projects.DEFAULT_BRANCH,
        "namespace": {"full_path": group},
        "http_url_to_repo": f"{url}/{project.path}.git",
        "web_url": f"{url}/{project.path}",
        # Every caller here has a token.
        "permissions": {
            "project_access": {"access_level": _MAINTAINER, "notification_level": 3},
            "group_access": None,
        },
    }


def get_commit(project: LocalProject, ref: str, url: str) -> Document:
    """GET /projects/:id/repository/commits/:sha, which may be a branch or a tag too"""
    commit = commit_of(project, ref)
    if not commit:
        raise RefusedError(404, "404 Commit Not Found")
    return {
        **commit_document(project, commit),
        "web_url": f"{url}/{project.path}/-/commit/{commit}",
        "project_id": project.id,
    }


def list_branches(project: LocalProject, query: Mapping[str, str], url: str) -> list[Document]:
    """GET /projects/:id/repository/branches; `search` knows `^start` and `end$`, and both make a name"""
    shape = ("for-each-ref", "--format=%(refname:strip=2)", "refs/heads")
    search = query.get("search", "")
    pattern = re.escape(search.removeprefix("^").removesuffix("$"))
    pattern = ("^" if search.startswith("^") else "") + pattern + ("$" if search.endswith("$") else "")
    return [
        _branch(project, name, url)
        for name in projects.git(project.repository, *shape).split()
        if re.search(pattern, name)
    ]


def get_branch(project: LocalProject, name: str, url: str) -> Document:
    """GET /projects/:id/repository/branches/:branch"""
    if not commit_of(project, f"refs/heads/{name}"):
        raise RefusedError(404, "404 Branch Not Found")
    return _branch(project, name, url)


def list_tags(project: LocalProject, query: Mapping[str, str]) -> list[Document]:
    """GET /projects/:id/repository/tags, newest first; `search` knows `^start` and `end$`."""
    arguments = ["for-each-ref", "--sort=-creatordate", "--format=%(refname:strip=2)", "refs/tags"]
    names = projects.git(project.repository, *arguments).split()
    search = query.get("search", "")
    if search.startswith("^"):
        names = [name for name in names if name.startswith(search[1:])]
    elif search.endswith("$"):
        names = [name for name in names if name.endswith(search[:-1])]
    else:
        names = [name for name in names if search in name]
    return [_tag(project, name) for name in names]


def get_tag(project: LocalProject, name: str) -> Document:
    """GET /projects/:id/repository/tags/:tag_name"""
    if not commit_of(project, f"refs/tags/{name}"):
        raise RefusedError(404, "404 Tag Not Found")
    return _tag(project, name)


def create_tag(project: LocalProject, body: Mapping[str, Any]) -> Document:
    """POST /projects/:id/repository/tags"""
    name, ref = _required(body, "tag_name"), _required(body, "ref")
    if not _valid_ref(name):
        raise RefusedError(400, "Tag name invalid")
    if commit_of(project, f"refs/tags/{name}"):
        raise RefusedError(400, f"Tag {name} already exists")
    commit = commit_of(project, ref)
    if not commit:
        raise RefusedError(400, f"Target {ref} is invalid")
    message = str(body.get("message") or "")
    annotation = ["-a", "-m", message] if message else []
    identity = ["-c", "user.name=Local GitLab", "-c", "user.email=gitlab@localhost"]
    projects.git(project.repository, *identity, "tag", *annotation, name, commit)
    return _tag(project, name)


def list_releases(home: Path, project: LocalProject) -> list[Document]:
    """GET /projects/:id/releases, newest first"""
    return list(reversed(records.read(_releases(home, project)).values()))


def get_release(home: Path, project: LocalProject, tag: str) -> Document:
    """GET /projects/:id/releases/:tag_name"""
    release = records.read(_releases(home, project)).get(tag)
    if release is None:
        raise RefusedError(404, "404 Not Found")
    return dict(release)


def create_release(home: Path, project: LocalProject, body: Mapping[str, Any], url: str) -> Document:
    """POST /projects/:id/releases; makes the tag too, where `ref` says of what."""
    tag = _required(body, "tag_name")
    with records.edit(_releases(home, project)) as releases:
        if tag in releases:
            raise RefusedError(409, "Release already exists")
        if not commit_of(project, f"refs/tags/{tag}"):
            if not body.get("ref"):
                raise RefusedError(422, "Ref is not specified")
            create_tag(project, {"tag_name": tag, "ref": body["ref"], "message": body.get("tag_message")})
        now = _now()
        release = {
            "tag_name": tag,
            "name": body.get("name") or tag,
            "description": body.get("description"),
            "created_at": now,
            "released_at": now,
            "commit": _tag(project, tag)["commit"],
            "assets": {"count": 0, "sources": [], "links": []},
            "_links": {"self": f"{url}/{project.path}/-/releases/{tag}"},
        }
        releases[tag] = release
    return release


def list_notes(home: Path, project: LocalProject, merge_request: int) -> list[Document]:
    """GET /projects/:id/merge_requests/:iid/notes, newest first"""
    notes = records.read(_notes(home, project)).get(str(merge_request), [])
    return list(reversed(notes))


def create_note(home: Path, project: LocalProject, merge_request: int, body: Mapping[str, Any]) -> Document:
    """POST /projects/:id/merge_requests/:iid/notes"""
    text = _required(body, "body")
    with records.edit(_notes(home, project)) as merge_requests:
        number = 1 + max((note["id"] for notes in merge_requests.values() for note in notes), default=0)
        now = _now()
        note = {
            "id": number,
            "body": text,
            "author": {"id": 1, "username": "local", "name": "Local GitLab"},
            "created_at": now,
            "updated_at": now,
            "system": False,
            "noteable_iid": merge_request,
            "noteable_type": "MergeRequest",
            "project_id": project.id,
        }
        merge_requests.setdefault(str(merge_request), []).append(note)
    return note


def update_note(
    home: Path, project: LocalProject, merge_request: int, number: int, body: Mapping[str, Any]
) -> Document:
    """PUT /projects/:id/merge_requests/:iid/notes/:note_id"""
    text = _required(body, "body")
    with records.edit(_notes(home, project)) as merge_requests:
        for note in merge_requests.get(str(merge_request), []):
            if note["id"] == number:
                note |= {"body": text, "updated_at": _now()}
                return dict(note)
    raise RefusedError(404, "404 Note Not Found")


def _branch(project: LocalProject, name: str, url: str) -> Document:
    default = name == projects.DEFAULT_BRANCH
    return {
        "name": name,
        "commit": commit_document(project, f"refs/heads/{name}"),
        "merged": False,
        "default": default,
        "protected": default,
        "developers_can_push": not default,
        "developers_can_merge": not default,
        "can_push": True,
        "web_url": f"{url}/{project.path}/-/tree/{name}",
    }


def _tag(project: LocalProject, name: str) -> Document:
    ref = f"refs/tags/{name}"
    shape = "--format=%(objecttype)%00%(objectname)%00%(creatordate:iso-strict)%00%(contents)"
    kind, target, created, message = projects.git(project.repository, "for-each-ref", shape, ref).split("\0")
    annotated = kind == "tag"
    return {
        "name": name,
        "target": target,
        "message": message.strip() if annotated else None,
        "created_at": created if annotated else None,
        "protected": False,
        "release": None,
        "commit": commit_document(project, ref),
    }


def commit_document(project: LocalProject, ref: str) -> Document:
    """The commit a ref names, as every answer has it."""
    arguments = ("log", "-1", f"--format={_COMMIT}", ref, "--")
    facts = projects.git(project.repository, *arguments).rstrip("\n").split("\0")
    sha, short, parents, title, author, author_email, authored, committer, email, committed, message = facts
    return {
        "id": sha,
        "short_id": short,
        "parent_ids": parents.split(),
        "title": title,
        "message": message,
        "author_name": author,
        "author_email": author_email,
        "authored_date": authored,
        "committer_name": committer,
        "committer_email": email,
        "committed_date": committed,
        "created_at": committed,
    }


def commit_of(project: LocalProject, ref: str) -> str:
    """The commit a ref names; empty when there is none."""
    try:
        arguments = ("rev-parse", "--quiet", "--verify", "--end-of-options", f"{ref}^{{commit}}")
        return projects.git(project.repository, *arguments).strip()
    except LocalStackError:
        return ""


def _valid_ref(name: str) -> bool:
    """Git's own rules: https://git-scm.com/docs/git-check-ref-format"""
    if name.startswith("-"):
        return False
    return not subprocess.run(["git", "check-ref-format", f"refs/tags/{name}"], check=False).returncode


def _required(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise RefusedError(400, f"{name} is missing")
    return value


def _releases(home: Path, project: LocalProject) -> Path:
    return home / f"releases-{project.id}.json"


def _notes(home: Path, project: LocalProject) -> Path:
    return home / f"notes-{project.id}.json"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
