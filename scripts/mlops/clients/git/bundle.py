"""A commit with its history in one file, from another project: git proves that it is that commit.

What git runs is ours alone: no hooks, no template, and a bundle holds no configuration. The history lies
beside the files and not in a folder named `.git`, of which a runner warns and others make no artifacts.
"""

from __future__ import annotations

import os
from pathlib import Path

from mlops.base.errors import ArtifactError
from mlops.clients.git.repository import FETCH_SECONDS, file_sizes, run_git

_REF = "refs/mlops/upstream"
# Of a checkout: a few kilobytes of objects can stand for any number of files, and for files of any size.
_MOST_FILES = 200_000
_MOST_BYTES = 4 << 30
_AGAIN = "Run the upstream's job code again, and then its trigger job."
_SAFE = ("-c", "core.hooksPath=/dev/null", "-c", "transfer.fsckObjects=true", "-c", "submodule.recurse=false")


def unpack(bundle: Path, commit: str, files: Path, history: Path) -> str:
    """Check a commit of a bundle out; returns the first line of its message.

    Args:
        bundle: The file.
        commit: The full id of the commit that the bundle's HEAD must be.
        files: A folder for the files, which must not exist.
        history: A folder for git, which must not exist.

    Raises:
        ArtifactError: when the bundle is none, not whole, of another commit, too large when checked out, or
            has links that leave it.
        SourceError: when git is missing, or cannot read the commit.
    """
    files.mkdir(parents=True)
    _git(files, "init", "--quiet", "--template=", f"--separate-git-dir={history.resolve()}", ".")
    # The path that git wrote is this job's, and the folders travel on.
    (files / ".git").write_text(f"gitdir: ../{history.name}\n", encoding="utf-8")
    _git(files, "fetch", "--quiet", "--no-tags", str(bundle.resolve()), f"HEAD:{_REF}", seconds=FETCH_SECONDS)
    found = _git(files, "rev-parse", f"{_REF}^{{commit}}").strip()
    if found != commit:
        raise ArtifactError(
            "The upstream's artifact is of another commit",
            cause=f"it holds {found}, and the pipeline is about {commit}",
            next_step=_AGAIN,
        )
    _check_size(files, commit)
    _git(files, "checkout", "--quiet", "--detach", commit, seconds=FETCH_SECONDS)
    _check_links(files)
    title = _git(files, "log", "-1", "--no-show-signature", "--format=%s", commit).strip()
    # Git keeps a message in whatever bytes it was given, and no report can hold those that are not UTF-8.
    return title.encode(errors="replace").decode()


def _check_size(files: Path, commit: str) -> None:
    total = 0
    for count, size in enumerate(file_sizes(files, commit), start=1):
        total += size
        if count > _MOST_FILES or total > _MOST_BYTES:
            raise ArtifactError(
                "The upstream's commit is too large to check out",
                cause=f"it has more than {_MOST_FILES:,} files or {_MOST_BYTES >> 30} GiB",
                next_step="Keep data on S3 or in Git LFS, which is not fetched here.",
            )


def _check_links(files: Path) -> None:
    """A link that leaves the folder would show later jobs other files than the commit's."""
    root = files.resolve()
    for folder, folders, names in os.walk(files):
        for name in (*folders, *names):
            path = Path(folder) / name
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise ArtifactError(
                    f"{path.relative_to(files)} in the upstream's commit is a link that leaves it",
                    cause=f"it points to {path.readlink()}",
                    next_step="Commit the file itself instead.",
                )


def _git(folder: Path, command: str, *arguments: str, seconds: float = 120) -> str:
    done = run_git(
        folder, *_SAFE, command, *arguments, environment={"GIT_LFS_SKIP_SMUDGE": "1"}, seconds=seconds
    )
    if done.returncode == 0:
        return done.stdout
    cause = done.stderr.strip() or f"git returned {done.returncode}"
    step = _AGAIN
    if "prerequisite" in cause or "shallow" in cause:
        step = "Set the variable GIT_DEPTH of the upstream's job code to 0, which fetches the whole history."
    raise ArtifactError("The upstream's artifact holds no usable history", cause=cause, next_step=step)
