"""`mlops release`: the next version of this platform, from its commits and its changelog.

    commits since the last release change what is released   the next version
    none does                                                nothing to release
    this commit is part of a release                         that release, completed if it was cut short

One push carries all of it or nothing: the commit with version and changelog, the tag `v1.2.0`, and the tags
`1` and `1.2` that follow the newest release of their line. GitLab's release comes after it, and is made by
running the command again if that was missed. docs/contribute/release.md says how it is used.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path

from semver import Version

from mlops.base import console
from mlops.base.errors import ReleaseError, SettingsError, UsageError
from mlops.base.result import Outcome
from mlops.ci import dotenv
from mlops.ci.pipeline import Pipeline
from mlops.clients.git.origin import Author, RemoteRepository
from mlops.clients.git.repository import Commit, Repository
from mlops.clients.gitlab.project import GitLabProject, connect_job
from mlops.contracts import versions
from mlops.releasing import changelog

CHANGELOG = "CHANGELOG.md"
VERSION_FILE = "scripts/mlops/__init__.py"
# What others include, install or have applied; documents, tests and examples make no release.
RELEASED = (
    "Dockerfile",
    "ci-templates",
    "dags",
    "lambda_trigger",
    "pyproject.toml",
    "requirements/build.txt",
    "requirements/ci.txt",
    "requirements/mwaa.txt",
    "schemas",
    "scripts",
    "terraform",
)
# Each attempt but the last was lost to another release.
ATTEMPTS = 5

_VERSION_LINE = re.compile(r'^__version__ = "[^"]*"$', re.MULTILINE)
_LINE = re.compile(r"(?P<major>0|[1-9]\d*)(?:\.(?P<minor>0|[1-9]\d*))?\.x")


@dataclass(frozen=True, kw_only=True)
class ReleaseRequest:
    """What is asked for. `at_least` is the smallest step, where commits call for a smaller one."""

    branch: str
    day: date
    author: Author = field(default_factory=Author)
    at_least: versions.Bump = "patch"
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class Release:
    """A release, made or only computed (then `commit` is empty); `aliases` are the tags that follow it.

    `reason` says why a new one has this version.
    """

    version: Version
    commit: str
    aliases: tuple[str, ...]
    notes: str
    new: bool
    reason: str = ""

    @property
    def tag(self) -> str:
        """Its own tag, which never moves."""
        return f"v{self.version}"


def run(arguments: argparse.Namespace) -> Outcome:
    """Release the checked-out commit of a pipeline; without a pipeline, say what one would do.

    Raises:
        MlopsError: of the kind that says what is missing or refused.
    """
    pipeline = Pipeline.from_environment(os.environ)
    repository = Repository.open(Path.cwd())
    dry_run = arguments.dry_run or pipeline.kind == "local"
    if pipeline.kind == "local":
        origin, project = RemoteRepository(repository, "origin"), None
    else:
        origin, project = _connect(repository, pipeline, os.environ)
    request = ReleaseRequest(
        branch=pipeline.ref or pipeline.default_branch,
        day=datetime.now(UTC).date(),
        author=Author(os.environ.get("GITLAB_USER_NAME", ""), os.environ.get("GITLAB_USER_EMAIL", "")),
        at_least=arguments.at_least,
        dry_run=dry_run,
    )
    if not dry_run:
        _check_branch(pipeline)
    found = release(origin, project, request)
    if arguments.dotenv:
        _write(Path(arguments.dotenv), found)
    return _outcome(found, dry_run=dry_run)


def release(
    origin: RemoteRepository, project: GitLabProject | None, request: ReleaseRequest
) -> Release | None:
    """The release that this commit is part of, made if it is due; None when there is nothing to release.

    Raises:
        ReleaseError: when it cannot be made; nothing is left of it then.
        SourceError: when git or the origin does not answer.
        GitLabError: when the tags are pushed and GitLab's release is not made; running again makes it.
    """
    for _ in range(ATTEMPTS):
        refs = origin.refs()
        tip = origin.fetch(request.branch)
        known = _known(origin, refs)
        if known:
            return _announce(known, project, request)
        planned = _plan(origin, request)
        if planned is None or request.dry_run:
            return planned
        if tip != origin.repository.head:
            raise ReleaseError(
                f"{request.branch} has newer commits than this pipeline's {origin.repository.head[:8]}",
                cause=f"its newest is {tip[:8]}, and only a release on top of it can be pushed",
                next_step="Start the job release in the pipeline of the newest commit.",
            )
        made = _push(origin, request, planned, refs)
        if made:
            return _announce(made, project, request)
        console.say("Another release was pushed just now; looking again at what there is to release")
    raise ReleaseError(
        f"{ATTEMPTS} releases in a row were pushed by others while this one was made",
        next_step="Run the job again.",
    )


def _connect(
    repository: Repository, pipeline: Pipeline, variables: Mapping[str, str]
) -> tuple[RemoteRepository, GitLabProject]:
    token = variables.get("CI_JOB_TOKEN", "")
    path = pipeline.origin.project_path
    if not (token and path and pipeline.server_url and pipeline.project_id):
        raise SettingsError(
            "GitLab's variables of this job are incomplete",
            cause="a release needs CI_JOB_TOKEN, CI_PROJECT_PATH, CI_PROJECT_ID and CI_SERVER_URL",
            next_step="Run this as a job of the platform's own project.",
        )
    origin = RemoteRepository(repository, f"{pipeline.server_url}/{path}.git", token)
    return origin, connect_job(pipeline.server_url, pipeline.project_id, token)


def _check_branch(pipeline: Pipeline) -> None:
    if pipeline.kind == "default_branch" or (pipeline.kind == "branch" and _LINE.fullmatch(pipeline.ref)):
        return
    raise UsageError(
        f"No release is made of {pipeline.ref or 'this pipeline'}",
        cause="releases come from the default branch, and from branches such as 1.2.x for an older line",
        next_step="Use --dry-run to see what a release would hold.",
    )


def _known(origin: RemoteRepository, refs: Mapping[str, str]) -> Release | None:
    """The first release that this commit is part of."""
    containing = origin.releases("--contains", origin.repository.head)
    if not containing:
        return None
    version, commit = min(containing.items(), key=lambda item: item[0])
    return Release(
        version=version,
        commit=commit,
        aliases=tuple(alias for alias in _names(version) if refs.get(f"refs/tags/{alias}") == commit),
        notes=changelog.notes(origin.file(commit, CHANGELOG), version),
        new=False,
    )


def _plan(origin: RemoteRepository, request: ReleaseRequest) -> Release | None:
    """What would be released; None when nothing of it changed since the last release.

    Raises:
        ReleaseError: when the changelog says nothing, or the version cannot be used.
    """
    merged = origin.releases("--merged", origin.repository.head)
    last = max(merged, default=None)
    commits = _commits(origin.repository, merged[last] if last else "")
    if not commits:
        return None
    version, reason = _next(last, [commit.message for commit in commits], request.at_least)
    _check_version(origin, request.branch, version)
    said = changelog.unreleased(origin.file(origin.repository.head, CHANGELOG))
    if not said:
        titles = [commit.message.partition("\n")[0] for commit in commits]
        raise ReleaseError(
            f"{version} is due, and CHANGELOG.md says nothing of it",
            cause="\n".join(["the section Unreleased is empty, and there are these commits:", *titles[:10]]),
            next_step="Write what they change for those who use it, below Unreleased.",
        )
    everything = origin.releases()
    aliases = tuple(alias for alias in _names(version) if version > _newest(everything, alias))
    return Release(version=version, commit="", aliases=aliases, notes=said, new=True, reason=reason)


def _next(last: Version | None, messages: list[str], at_least: versions.Bump) -> tuple[Version, str]:
    """The version after `last`, and the reason for it in words."""
    if last is None:
        return versions.FIRST_RELEASE, "the first release, whatever the commits before it say"
    bump, message = versions.largest(messages)
    asked = versions.raised(last, at_least)
    if asked > versions.raised(last, bump):
        return asked, f"{at_least} after {last}, because of --at-least"
    return versions.raised(last, bump), f"{bump} after {last}, because of: {message.partition(chr(10))[0]}"


def _commits(repository: Repository, since: str) -> list[Commit]:
    revisions = (f"{since}..{repository.head}",) if since else (repository.head,)
    return list(repository.commits(revisions, RELEASED, lambda path: "/tests/" not in path))


def _check_version(origin: RemoteRepository, branch: str, version: Version) -> None:
    line = _LINE.fullmatch(branch)
    minor = line and line["minor"]
    if line and (version.major != int(line["major"]) or (minor and version.minor != int(minor))):
        raise ReleaseError(
            f"{version} does not belong on the branch {branch}",
            cause="a commit since the last release is a feature or a breaking change",
            next_step="Release it from the default branch, and only what mends something here.",
        )
    if version in origin.releases():
        raise ReleaseError(
            f"v{version} is released already, from another history",
            cause=f"{branch} does not hold it",
            next_step=f"Merge v{version} into {branch}, or release from {version.major}.{version.minor}.x.",
        )


def _push(
    origin: RemoteRepository, request: ReleaseRequest, planned: Release, refs: Mapping[str, str]
) -> Release | None:
    """Push the planned release; None when another release was faster."""
    head = origin.repository.head
    source, count = _VERSION_LINE.subn(f'__version__ = "{planned.version}"', origin.file(head, VERSION_FILE))
    if count != 1:
        raise ReleaseError(
            f"{VERSION_FILE} has {count} versions", next_step='Have one line `__version__ = "..."`.'
        )
    files = {
        VERSION_FILE: source,
        CHANGELOG: changelog.cut(origin.file(head, CHANGELOG), planned.version, request.day),
    }
    commit = origin.commit(files, f"chore(release): {planned.version}\n", request.author)
    tags = [planned.tag, *planned.aliases]
    updates = {f"refs/heads/{request.branch}": commit, **{f"refs/tags/{tag}": commit for tag in tags}}
    if not origin.push(updates, refs):
        return None
    return replace(planned, commit=commit)


def _announce(made: Release, project: GitLabProject | None, request: ReleaseRequest) -> Release:
    """Make GitLab's release, unless it is there."""
    if project and not request.dry_run:
        project.create_release(made.tag, made.commit, made.notes)
    return made


def _names(version: Version) -> tuple[str, str]:
    """The tags that follow a release while it is the newest of its line."""
    return f"{version.major}.{version.minor}", str(version.major)


def _newest(releases: Mapping[Version, str], alias: str) -> Version:
    """The newest release of a line; 0.0.0 before the first."""
    return max((version for version in releases if alias in _names(version)), default=Version(0))


def _write(file: Path, found: Release | None) -> None:
    done = found if found and found.commit else None
    dotenv.write(
        file,
        {
            "RELEASED": str(bool(done)).lower(),
            "RELEASE_VERSION": str(done.version) if done else "",
            "RELEASE_TAG": done.tag if done else "",
            "RELEASE_COMMIT": done.commit if done else "",
            "RELEASE_ALIASES": ",".join(done.aliases) if done else "",
        },
    )


def _outcome(found: Release | None, *, dry_run: bool) -> Outcome:
    if found is None:
        return Outcome(
            summary="✓ Nothing to release: no commit since the last release changes what is released",
            data={"released": False},
        )
    tags = ", ".join((found.tag, *found.aliases))
    data = {
        "released": bool(found.commit),
        "version": str(found.version),
        "tag": found.tag,
        "aliases": list(found.aliases),
        "commit": found.commit,
        "notes": found.notes,
        "reason": found.reason,
    }
    if not found.new:
        return Outcome(summary=f"✓ This commit is released: {tags} at {found.commit[:8]}", data=data)
    if dry_run:
        said = f"A release would be {found.version}, with the tags {tags}; only pipelines release"
        return Outcome(summary=f"{said}\n{found.reason}\n\n{found.notes}", data=data)
    said = f"✓ Released {found.version}: {tags} at {found.commit[:8]}"
    return Outcome(summary=f"{said}\n{found.reason}", data=data)
