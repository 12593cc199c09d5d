"""Which files the rules of a pipeline see changed (`rules: changes`), as GitLab has it.

    push to a branch     since the branch's push before this one; every file in its first
    merge request        since it left the default branch
    all else             every file: a schedule, a tag, another project or a person did not push them
    the same commit      every file: somebody wants the pipeline once more

https://docs.gitlab.com/ci/yaml/#ruleschanges
"""

from __future__ import annotations

from pathlib import Path

from mlops.base.errors import LocalStackError
from mlops_local.gitlab import pipelines, projects
from mlops_local.gitlab.pipelines import StoredPipeline
from mlops_local.gitlab.projects import DEFAULT_BRANCH, LocalProject


def base(home: Path, project: LocalProject, pipeline: StoredPipeline) -> str:
    """The commit that a pipeline's own is compared with; empty when every file counts as changed."""
    if pipeline.source == "merge_request_event":
        return _merge_base(project, pipeline.sha)
    if pipeline.source != "push" or pipeline.tag:
        return ""
    before = pipelines.pushed_before(home, pipeline)
    return before if before != pipeline.sha else ""


def mark(clone: Path, project: LocalProject, commit: str) -> None:
    """Have gitlab-ci-local compare with a commit, or, without one, take every file for changed.

    It always compares with `origin/<default branch>`. Here that is the commit's tree alone: the clone is
    shallow, and another commit would move the end of its history.

    Raises:
        LocalStackError: when git refuses.
    """
    folder = clone / ".git"
    if commit:
        tree = projects.git(project.repository, "rev-parse", f"{commit}^{{tree}}").strip()
        projects.git(folder, "fetch", "--quiet", "--no-tags", str(project.repository), tree)
    else:
        tree = projects.git(folder, "hash-object", "-t", "tree", "-w", "/dev/null").strip()
    projects.git(folder, "update-ref", f"refs/remotes/origin/{DEFAULT_BRANCH}", tree)


def _merge_base(project: LocalProject, commit: str) -> str:
    try:
        return projects.git(project.repository, "merge-base", f"refs/heads/{DEFAULT_BRANCH}", commit).strip()
    except LocalStackError:  # no default branch yet, or no commit in common
        return ""
