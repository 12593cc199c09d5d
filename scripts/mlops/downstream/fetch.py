"""`mlops fetch`: the code of the pipeline that started this one, checked against what GitLab knows.

    who is it     the project, and whether its pipelines are accepted here
    what is it    commit, branch or merge request of the job that made the artifact, as GitLab says
    is it whole   the archive's entries and sizes, its checksum, and git's own, which is the commit's id

What the trigger claims is compared with that, and nothing of it is used: a branch that nobody reviewed
cannot pose as the default branch.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol, cast, get_args

from mlops.base.errors import ArtifactError, SettingsError, SourceError, UpstreamError, UsageError
from mlops.base.result import Outcome
from mlops.ci import dotenv
from mlops.contracts import upstream
from mlops.contracts.upstream import TOKEN, Change, Claim, Upstream

if TYPE_CHECKING:
    from mlops.clients.gitlab.upstream_project import UpstreamDetails, UpstreamJob

BUNDLE, CHECKSUM = "code.bundle", "code.sha256"
_BUNDLE_LIMIT = 1 << 30
_ARCHIVE_LIMIT = _BUNDLE_LIMIT + (1 << 20)
_DOCS = "Look at docs/guides/downstream.md."


class UpstreamSource(Protocol):
    """What is needed of `clients.upstream_project.UpstreamProject`."""

    def project(self) -> UpstreamDetails: ...

    def newest_pipeline(self, commit: str, source_is_merge_request: bool) -> int: ...

    def find_job(self, pipeline_id: int, name: str) -> int: ...

    def job(self, job_id: int) -> UpstreamJob: ...

    def download(self, job_id: int, target: Path, limit: int) -> None: ...

    def branch(self, name: str) -> tuple[str, bool] | None: ...

    def merge_request_commit(self, number: int) -> str: ...

    def path_of(self, commit: str) -> str: ...


@dataclass(frozen=True, kw_only=True)
class CodeFolder:
    """Where the code goes: its files, and git's folder beside them."""

    files: Path
    manifest: str

    @property
    def history(self) -> Path:
        return self.files.with_name(f"{self.files.name}.git")


def run(arguments: argparse.Namespace) -> Outcome:
    """Fetch and check the code, and hand its origin to the other jobs.

    Raises:
        UpstreamError: when the trigger does not say what GitLab says.
        ArtifactError: when the artifact is gone, damaged, or not what it seems.
        GitLabError, SettingsError, SourceError: of the kind that says what is missing or refused.
    """
    claim = read_claim(arguments, os.environ)
    refuse_variables(os.environ)
    place = CodeFolder(files=Path(arguments.directory), manifest=arguments.manifest)
    if not place.files.name:
        raise UsageError(f"--directory {place.files} is not a folder to make", next_step="Give it a name.")
    server, token = os.environ.get("CI_SERVER_URL", ""), os.environ.get(TOKEN, "")
    job_token = os.environ.get("CI_JOB_TOKEN", "")
    if not server or not (token or job_token):
        raise SettingsError(
            "There is no GitLab to ask", cause="CI_SERVER_URL and a token are needed", next_step=_DOCS
        )

    from mlops.clients.gitlab import upstream_project

    source = upstream_project.connect(server, claim.project_id, token, job_token)
    accepted = os.environ.get("MLOPS_UPSTREAMS", "")
    known = ask(claim, source, accepted) if token else ask_with_job_token(claim, source, accepted)
    found = fetch(known, source, place)
    dotenv.write(Path(arguments.dotenv), found.variables())
    what = f"!{found.merge_request}" if found.merge_request else found.ref
    return Outcome(
        summary=f"✓ {found.project_path} {what} {found.commit[:8]}: {found.title}",
        data={"upstream": found.variables(), "job": known.artifact_job_id, "directory": str(place.files)},
    )


def read_claim(arguments: argparse.Namespace, variables: Mapping[str, str]) -> Claim:
    """What the trigger says, as far as it has the right form.

    Raises:
        UsageError: when a part has not.
    """
    job_id = arguments.artifact_job_id or variables.get("MLOPS_ARTIFACT_JOB_ID", "")
    checksum = arguments.artifact_sha256 or variables.get("MLOPS_ARTIFACT_SHA256", "")
    # A GitLab variable that has no value in the upstream arrives as its name.
    commit = "" if arguments.commit.startswith("$") else arguments.commit
    if commit and not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", commit):
        raise UsageError(f"{commit!r} is not a commit", next_step="Give its full id.")
    if checksum and not re.fullmatch(r"[0-9a-f]{64}", checksum):
        raise UsageError(f"{checksum!r} is not a checksum", next_step="Give the 64 digits of SHA-256.")
    if arguments.change not in get_args(Change):
        raise UsageError(f"{arguments.change!r} is not a change", next_step=" or ".join(get_args(Change)))
    manifest = PurePosixPath(arguments.manifest)
    if manifest.is_absolute() or ".." in manifest.parts:
        raise UsageError(f"{arguments.manifest!r} is not below the repository's root")
    return Claim(
        project_id=_number(arguments.project_id),
        project_path=arguments.project_path,
        commit=commit,
        ref=arguments.ref.removeprefix("refs/heads/"),
        change=cast(Change, arguments.change),
        merge_request=0 if arguments.merge_request.startswith("$") else _number(arguments.merge_request),
        pipeline_id=0 if arguments.pipeline_id.startswith("$") else _number(arguments.pipeline_id),
        artifact_job=arguments.artifact_job,
        artifact_job_id=_number(job_id),
        artifact_sha256=checksum,
    )


def refuse_variables(variables: Mapping[str, str]) -> None:
    """End here where the trigger passes on variables that would win over those of our jobs.

    Raises:
        UpstreamError: naming them.
    """
    if names := upstream.passed_in(variables):
        raise UpstreamError(
            "The trigger passes on variables that decide here",
            cause=", ".join(names),
            next_step="Forbid pipeline variables in this project (docs/guides/downstream.md), and"
            " extend .mlops-trigger as it is.",
        )


@dataclass(frozen=True, kw_only=True)
class Known:
    """What GitLab says, and which job's artifact has the code."""

    upstream: Upstream
    artifact_job_id: int
    artifact_sha256: str


def ask(claim: Claim, source: UpstreamSource, accepted: str) -> Known:
    """What GitLab says of the job that made the artifact, where a token reads the project.

    Raises:
        UpstreamError: when the trigger says something else, or the project's pipelines are not accepted.
        ArtifactError: when there is no artifact any more.
    """
    project = source.project()
    _check_accepted(project.path, project.member, accepted)
    job_id = claim.artifact_job_id or _find_job(claim, source)
    job = source.job(job_id)
    change = _change(job, project.default_branch)
    _compare(
        ("project", claim.project_path, project.path),
        ("commit", claim.commit or job.commit, job.commit),
        ("change", claim.change, change),
        ("job", claim.artifact_job, job.name),
        ("pipeline", claim.pipeline_id or job.pipeline_id, job.pipeline_id),
        ("merge request", claim.merge_request or job.merge_request, job.merge_request),
    )
    if job.status != "success":
        raise ArtifactError(
            f"The upstream's job {job.name} is {job.status}",
            cause=f"job {job.id} has made no artifact",
            next_step="Run it again, and then the trigger job.",
        )
    if job.expired:
        from mlops.clients.gitlab.upstream_project import gone

        raise gone(job.id, job.expired)
    return Known(
        upstream=Upstream(
            project_id=claim.project_id,
            project_path=project.path,
            commit=job.commit,
            title="",
            ref=f"!{job.merge_request}" if change == "merge_request" else job.ref,
            change=change,
            source=job.source,
            merge_request=job.merge_request,
            pipeline_id=job.pipeline_id,
        ),
        artifact_job_id=job.id,
        artifact_sha256=claim.artifact_sha256,
    )


def ask_with_job_token(claim: Claim, source: UpstreamSource, accepted: str) -> Known:
    """What GitLab says to a job's own token: whose newest commit it is, and no more.

    Raises:
        UpstreamError: when the commit is not the newest one, or the project's pipelines are not accepted.
        SettingsError: when the trigger cannot say which job made the artifact.
    """
    if not claim.artifact_job_id:
        raise SettingsError(
            "Nothing says which job made the upstream's artifact",
            cause=f"a job token may not look it up, and {TOKEN} is not set",
            next_step=f"Set {TOKEN} here, or forward-artifact in the upstream: docs/guides/downstream.md.",
        )
    if not claim.commit:
        raise _untold()
    path = source.path_of(claim.commit)
    # Everybody may let our job token into a project of their own.
    _check_accepted(path, False, accepted)
    _compare(("project", claim.project_path, path))
    if claim.change == "merge_request":
        ref, newest = f"!{claim.merge_request}", source.merge_request_commit(claim.merge_request)
    else:
        ref = claim.ref
        newest, is_default = source.branch(ref) or ("", False)
        _compare(("change", claim.change, "default_branch" if is_default else "branch"))
    if newest != claim.commit:
        raise UpstreamError(
            f"{claim.commit[:8]} is not the newest commit of {ref}",
            cause=f"that is {newest[:8] or 'none'}, and a job token may not ask what the pipeline was about",
            next_step="Go on with the pipeline of the newest commit, or set"
            f" {TOKEN}: docs/guides/downstream.md.",
        )
    return Known(
        upstream=Upstream(
            project_id=claim.project_id,
            project_path=path,
            commit=newest,
            title="",
            ref=ref,
            change=claim.change,
            source="merge_request_event" if claim.change == "merge_request" else "push",
            merge_request=claim.merge_request if claim.change == "merge_request" else 0,
            pipeline_id=claim.pipeline_id,
        ),
        artifact_job_id=claim.artifact_job_id,
        artifact_sha256=claim.artifact_sha256,
    )


def fetch(known: Known, source: UpstreamSource, place: CodeFolder) -> Upstream:
    """Download the artifact of exactly that job, check it, and put the code where other jobs look for it.

    Raises:
        ArtifactError: when it is gone, damaged, or not what it seems.
        SourceError: when the commit has no such manifest.
    """
    from mlops.clients.git import bundle
    from mlops.clients.gitlab import artifacts

    for folder in (place.files, place.history):
        if folder.exists():
            raise UsageError(
                f"{folder} is there already", next_step="Remove it, or give another --directory."
            )
    with tempfile.TemporaryDirectory(prefix="mlops-") as name:
        work = Path(name)
        source.download(known.artifact_job_id, work / "artifacts.zip", _ARCHIVE_LIMIT)
        artifacts.extract(work / "artifacts.zip", {BUNDLE: _BUNDLE_LIMIT, CHECKSUM: 200}, work)
        _check_sum(work, known.artifact_sha256)
        # Whole or not at all, or a job that was killed would leave the next one half a repository.
        title = bundle.unpack(
            work / BUNDLE, known.upstream.commit, work / place.files.name, work / place.history.name
        )
        manifest = work / place.files.name / place.manifest
        if not manifest.is_file():
            raise SourceError(
                f"The upstream's commit has no {place.manifest}",
                next_step="Give the input manifest of ci-templates/downstream.yml the manifest's path.",
            )
        for folder in (place.history, place.files):
            shutil.move(work / folder.name, folder)
    return replace(known.upstream, title=title)


def _find_job(claim: Claim, source: UpstreamSource) -> int:
    if not (claim.pipeline_id or claim.commit):
        raise _untold()
    pipeline_id = claim.pipeline_id or source.newest_pipeline(claim.commit, claim.change == "merge_request")
    job_id = source.find_job(pipeline_id, claim.artifact_job) if pipeline_id else 0
    if not job_id:
        raise UpstreamError(
            f"The upstream has no job {claim.artifact_job} of {claim.commit[:8] or 'its pipeline'}",
            cause=f"looked for in pipeline {pipeline_id}" if pipeline_id else "its commit has no pipeline",
            next_step="Include ci-templates/downstream.yml in the upstream, which brings the job.",
        )
    return job_id


def _untold() -> UpstreamError:
    return UpstreamError(
        "The trigger says neither its commit nor its pipeline",
        cause="this GitLab expands neither CI_COMMIT_SHA in inputs nor CI_UPSTREAM_PIPELINE_ID",
        next_step="Give upstream-commit to ci-templates/downstream.yml, or renew GitLab.",
    )


def _check_accepted(path: str, member: bool, accepted: str) -> None:
    patterns = accepted.replace(",", " ").split()
    if any(fnmatchcase(path, pattern) for pattern in patterns) or (member and not patterns):
        return
    cause = f"MLOPS_UPSTREAMS has {', '.join(patterns)}" if patterns else "nobody let our token in there"
    raise UpstreamError(
        f"Pipelines of {path} are not accepted here",
        cause=cause,
        next_step=f"If it may train here: make the user of {TOKEN} a member, or name it in MLOPS_UPSTREAMS.",
    )


def _change(job: UpstreamJob, default_branch: str) -> Change:
    if job.tag or job.source == "schedule":
        raise UpstreamError(
            "The upstream's pipeline was not started by a change",
            cause="it is a tag's" if job.tag else "a schedule started it",
            next_step="Take the rules of ci-templates/downstream.yml: tags and schedules make no releases.",
        )
    if job.source == "merge_request_event":
        return "merge_request"
    return "default_branch" if job.ref == default_branch else "branch"


def _compare(*facts: tuple[str, object, object]) -> None:
    wrong = [
        f"{name}: the trigger says {said}, GitLab says {known}"
        for name, said, known in facts
        if said != known
    ]
    if wrong:
        raise UpstreamError(
            "This pipeline is not about what its trigger says",
            cause="\n".join(wrong),
            next_step="Extend .mlops-trigger as it is, and start the upstream's pipeline again.",
        )


def _check_sum(work: Path, expected: str) -> None:
    with (work / BUNDLE).open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    written = (work / CHECKSUM).read_text("ascii", errors="replace").strip()
    for said, name in ((written, CHECKSUM), (expected or found, "the trigger")):
        if said != found:
            raise ArtifactError(
                "The upstream's artifact was changed",
                cause=f"{BUNDLE} has the checksum {found}, {name} says {said}",
                next_step="Run the upstream's job code again, and then its trigger job.",
            )


def _number(text: str) -> int:
    if text and not re.fullmatch(r"[0-9]{1,19}", text):
        raise UsageError(f"{text[:40]!r} is not a number")
    return int(text or 0)
