"""What git has of a pipeline: published templates, the commit's facts, and a clone as a runner makes it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from mlops.base.errors import LocalStackError
from mlops_local.base import paths
from mlops_local.gitlab import projects
from mlops_local.gitlab.projects import DEFAULT_BRANCH, LocalProject
from mlops_local.pipelines import gitlab_ci_local as engine
from mlops_local.pipelines import trigger_jobs
from mlops_local.pipelines.variables import CommitDetails
from mlops_local.stack.stack import TEMPLATES_PROJECT, Stack

# GitLab's default for a new project, so that jobs meet a shallow clone:
# https://docs.gitlab.com/ci/pipelines/settings/#limit-the-number-of-changes-fetched-during-clone
_DEPTH = 20


def publish_templates(
    stack: Stack, project: str, source: Path | None = None, versions: Iterable[str] = ("1",)
) -> str:
    """Put the templates of this checkout into the local GitLab, as they are in the work tree.

    Args:
        source: The checkout with `ci-templates`; by default the one this package runs from.
        versions: The tags that model repos include, which move as those of a release do.

    Returns:
        The commit.

    Raises:
        LocalStackError: when git refuses.
    """
    folder = source or paths.checkout()
    repository = projects.create_project(stack.folder / "gitlab", project).repository
    index = repository / "publish.index"
    index.unlink(missing_ok=True)
    environment = {**_git_environment(), "GIT_INDEX_FILE": str(index)}
    for role in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{role}_NAME": "ml-ops", f"GIT_{role}_EMAIL": "ml-ops@localhost"}

    def git(*arguments: str) -> str:
        return _git([f"--git-dir={repository}", f"--work-tree={folder}", *arguments], folder, environment)

    # What model repos include, and what a pipeline runs that they start here.
    git("add", "--force", "ci-templates", *(name for name in (".gitlab-ci.yml",) if (folder / name).exists()))
    tree = git("write-tree")
    commit = git("for-each-ref", "--format=%(objectname)", f"refs/heads/{DEFAULT_BRANCH}")
    if not commit or git("rev-parse", f"{commit}^{{tree}}") != tree:
        parents = ("-p", commit) if commit else ()
        commit = git("commit-tree", *parents, "-m", "Publish the templates of this checkout", tree)
        git("update-ref", f"refs/heads/{DEFAULT_BRANCH}", commit)
    for version in versions:
        git("update-ref", f"refs/tags/{version}", commit)
    index.unlink(missing_ok=True)
    return commit


def fetch_templates(home: Path, checkout: engine.Checkout) -> None:
    """Fetch the templates at once; gitlab-ci-local would make a clone for each of the files, 0.1 s each.

    What it does not find here, such as a template that does not exist, it still asks the local GitLab for.
    """
    templates = projects.find_project(home, TEMPLATES_PROJECT)
    if templates is None:
        return
    shape = ("for-each-ref", "--format=%(refname:strip=2)", "refs/heads", "refs/tags")
    for ref in projects.git(templates.repository, *shape).split():
        folder = checkout.includes("127.0.0.1", TEMPLATES_PROJECT, ref)
        folder.mkdir(parents=True)
        environment = {**_git_environment(), "GIT_INDEX_FILE": str(checkout.folder / ".git" / "templates")}
        command = [f"--git-dir={templates.repository}", f"--work-tree={folder}", "checkout", ref, "--", "."]
        _git(command, folder, environment)
        for template in folder.glob("ci-templates/*.yml"):
            template.write_text(trigger_jobs.mark_functions(template.read_text(encoding="utf-8")), "utf-8")


def read_commit(project: LocalProject, commit: str) -> CommitDetails:
    """What the variables say of a commit, which may be named by a ref.

    Raises:
        LocalStackError: when there is none.
    """
    shape = "--format=%H%x00%P%x00%an <%ae>%x00%cI%x00%B"
    try:
        name = projects.git(
            project.repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}"
        ).strip()
    except LocalStackError as error:
        raise LocalStackError(
            f"The local GitLab has no commit {commit} in {project.path}", next_step="Push it first."
        ) from error
    facts = projects.git(project.repository, "log", "-1", shape, name, "--").split("\0")
    sha, parents, author, timestamp, message = facts
    return CommitDetails(
        sha=sha, before=parents.partition(" ")[0], message=message.strip(), author=author, timestamp=timestamp
    )


def clone(url: str, sha: str, folder: Path) -> None:
    """A checkout as GitLab's runner makes it: shallow, on no branch, with `origin`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for arguments in (
        ("init", "--quiet", f"--initial-branch={DEFAULT_BRANCH}"),
        ("remote", "add", "origin", url),
        # gitlab-ci-local asks for these three.
        ("symbolic-ref", "refs/remotes/origin/HEAD", f"refs/remotes/origin/{DEFAULT_BRANCH}"),
        ("config", "user.name", "local"),
        ("config", "user.email", "local@localhost"),
        ("fetch", "--quiet", "--no-tags", f"--depth={_DEPTH}", "origin", sha),
        ("checkout", "--quiet", "--detach", sha),
    ):
        _git(arguments, folder, _git_environment())


def _git(arguments: Iterable[str], folder: Path, environment: Mapping[str, str]) -> str:
    command = ["git", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        raise LocalStackError(f"{' '.join(command)} failed", cause=done.stderr.strip())
    return done.stdout.strip()


def _git_environment() -> dict[str, str]:
    """Without the variables that would point git at another repository, or at a proxy."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, "GIT_TERMINAL_PROMPT": "0", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
