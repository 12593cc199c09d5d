"""An upstream repository, and a GitLab that knows one of its pipelines."""

from __future__ import annotations

import hashlib
import io
import stat
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mlops.base.errors import ArtifactError, UpstreamError
from mlops.clients.gitlab.upstream_project import UpstreamDetails, UpstreamJob, gone
from mlops.contracts.upstream import Claim

PATH, JOB, PIPELINE = "models/phishing-url", 77, 12


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=Ann", "-c", "user.email=ann@x.org", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


class Repository:
    """A model repository with two commits; `bundle` is what the job `code` makes of the last one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "upstream"
        git(folder, "init", "--quiet", "--initial-branch=main", str(self.folder))
        self.commit({"mlops.yml": "version: 1\n"}, "feat: begin")
        self.head = self.commit({"train.py": "print(1)\n"}, "fix: add the training")

    def commit(self, files: dict[str, str], message: str) -> str:
        for name, text in files.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(text)
        git(self.folder, "add", "--all")
        git(self.folder, "commit", "--quiet", f"--message={message}")
        self.head = git(self.folder, "rev-parse", "HEAD")
        return self.head

    def bundle(self) -> bytes:
        file = self.folder.parent / "made.bundle"
        git(self.folder, "bundle", "create", "--quiet", str(file), "HEAD")
        return file.read_bytes()


def archive(bundle: bytes, checksum: str | None = None) -> bytes:
    """The artifacts of the job `code`, as a runner archives them."""
    digest = checksum if checksum is not None else hashlib.sha256(bundle).hexdigest()
    return zipped({"code.bundle": bundle, "code.sha256": f"{digest}\n".encode()})


def zipped(entries: dict[str, bytes], change: Callable[[zipfile.ZipInfo], Any] = id) -> bytes:
    """An archive of these entries; `change` may alter what is written of each."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in entries.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            change(entry)
            target.writestr(entry, content)
    return file.getvalue()


@dataclass
class GitLab:
    """What `fetch` asks; `asked` are the questions, in their order."""

    job_record: UpstreamJob
    content: bytes
    upstream: UpstreamDetails = field(
        default_factory=lambda: UpstreamDetails(path=PATH, default_branch="main", member=True)
    )
    jobs: dict[tuple[int, str], int] = field(default_factory=lambda: {(PIPELINE, "code"): JOB})
    branches: dict[str, tuple[str, bool]] = field(default_factory=dict)
    merge_requests: dict[int, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def project(self) -> UpstreamDetails:
        return self.upstream

    def newest_pipeline(self, commit: str, source_is_merge_request: bool) -> int:
        self.asked.append(f"newest pipeline {commit[:8]} {source_is_merge_request}")
        return PIPELINE if commit == self.job_record.commit else 0

    def find_job(self, pipeline_id: int, name: str) -> int:
        self.asked.append(f"find {name} in {pipeline_id}")
        return self.jobs.get((pipeline_id, name), 0)

    def job(self, job_id: int) -> UpstreamJob:
        if job_id != self.job_record.id:
            raise UpstreamError(f"GitLab knows nothing of it: read the job {job_id}")
        return self.job_record

    def download(self, job_id: int, target: Path, limit: int) -> None:
        self.asked.append(f"download {job_id}")
        if job_id != self.job_record.id:
            raise gone(job_id)
        if len(self.content) > limit:
            raise ArtifactError("The upstream's artifact is too large")
        target.write_bytes(self.content)

    def branch(self, name: str) -> tuple[str, bool] | None:
        return self.branches.get(name)

    def merge_request_commit(self, number: int) -> str:
        return self.merge_requests.get(number, "")

    def path_of(self, commit: str) -> str:
        self.asked.append(f"path of {commit[:8]}")
        return self.upstream.path


def pushed(head: str, content: bytes, **facts: Any) -> GitLab:
    """A push to the default branch, whose job `code` succeeded."""
    job = UpstreamJob(
        id=JOB,
        name="code",
        status="success",
        commit=head,
        ref="main",
        tag=False,
        merge_request=0,
        pipeline_id=PIPELINE,
        source="push",
        expired="",
    )
    return GitLab(job_record=replace(job, **facts), content=content)


def claim(head: str, **facts: Any) -> Claim:
    """What an honest trigger says of that push."""
    said = Claim(
        project_id=7,
        project_path=PATH,
        commit=head,
        ref="main",
        change="default_branch",
        pipeline_id=PIPELINE,
    )
    return replace(said, **facts)
