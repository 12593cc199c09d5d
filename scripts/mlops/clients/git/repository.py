"""The commits and files of a model repository, through the git command.

What is built is always the commit, never the work tree: reports of earlier jobs and local edits stay out.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Self, cast

from mlops.base.errors import SourceError

FETCH_SECONDS = 600
_ELSEWHERE = {"GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_PREFIX"}
# git's own line between a message and the diff below it; the first character is core.commentChar
_SCISSORS = re.compile(r"^. -+ >8 -+$", re.MULTILINE)
FRESH_CLONE = "Try it in a fresh clone; if it fails there too, run `git fsck` and correct what it names."
_DEEP = "Set the variable GIT_DEPTH of the job to 0, which fetches the whole history."


@dataclass(frozen=True)
class File:
    """A committed file; `path` is from the repository's root, `mode` git's (100755 is executable)."""

    mode: str
    blob: str
    path: str


@dataclass(frozen=True)
class Commit:
    """A message, and the paths that its commit changed against its first parent."""

    message: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Repository:
    """A clone at one commit."""

    root: Path
    head: str
    shallow: bool

    @classmethod
    def open(cls, directory: Path) -> Self:
        """The clone that a directory is in, at its HEAD.

        Raises:
            SourceError: when there is none, or it has no commit.
        """
        arguments = ["rev-parse", "--show-toplevel", "--is-shallow-repository", "HEAD^{commit}"]
        done = run_git(directory, *arguments)
        if done.returncode:
            cause = (
                done.stderr.strip().splitlines()[0]
                if done.stderr.strip()
                else f"git returned {done.returncode}"
            )
            if "not a git repository" in done.stderr:
                step = "Run this in a clone of the model repository; images are made of committed files only."
            elif "dubious ownership" in done.stderr:
                step = f"Run: git config --global --add safe.directory {directory.resolve()}"
            elif "HEAD" in done.stderr:
                step = "Commit the model's files first."
            else:
                step = FRESH_CLONE
            raise SourceError(
                f"There is no git history in {directory.resolve()}", cause=cause, next_step=step
            )
        root, shallow, head = done.stdout.splitlines()
        return cls(Path(root), head, shallow == "true")

    def files(self, *paths: str) -> list[File]:
        """The committed files at or below paths from the root (`.` is the root), submodules included."""
        places = [] if "." in paths else list(paths)
        output = self._read("ls-tree", "-r", "-z", "--full-tree", self.head, "--", *places)
        found = []
        for line in output.split("\0")[:-1]:
            facts, _, path = line.partition("\t")
            mode, _, blob = facts.split(" ")
            found.append(File(mode, blob, path))
        return found

    def text(self, file: File) -> str:
        """The content of a file that is text."""
        return self._read("cat-file", "blob", file.blob)

    def export(self, paths: Sequence[str], directory: Path) -> None:
        """Write committed files below a directory, under their paths from the root, as a checkout would.

        A path may be named twice, as a Dockerfile is that lies in its own context.
        """
        index = {"GIT_INDEX_FILE": str(directory.with_name(directory.name + ".index"))}
        self._read("read-tree", self.head, environment=index)
        self._read(
            "checkout-index",
            "--stdin",
            "-z",
            f"--prefix={directory}/",
            environment=index,
            given="".join(f"{path}\0" for path in dict.fromkeys(paths)),  # git refuses the second of two
        )

    def changes(self, *paths: str) -> list[str]:
        """Paths below `paths` whose work tree is not as committed."""
        output = self._read("status", "--porcelain", "-z", "--", *_pathspecs(paths))
        return [line[3:] for line in output.split("\0") if line]

    def since(self, revision: str, tag: str) -> tuple[str, ...] | None:
        """The range of commits after a revision, for `commits`; None when the history has no such revision.

        Whatever the clone's depth, the range holds what it holds in a full clone. A clone that is not deep
        enough for that is deepened: to the release's own git tag where there is one, which costs only the
        commits in between, and to the whole history without file contents where that is not enough. A merge
        right after the release is such a case: git cuts off all parents of a commit that has an excluded one.

        Args:
            revision: A full commit id.
            tag: The git tag that the release at this revision has, if any.

        Raises:
            SourceError: when the clone is shallow and cannot be deepened.
        """
        if not re.fullmatch(
            r"[0-9a-f]{40}|[0-9a-f]{64}", revision
        ):  # from an image's label: not ours to trust
            return None
        if self.is_cut_off() and not self._is_complete(revision):
            if self._remote_tag(tag) == revision:
                # Nothing is left of the history of a commit that is older than the release: git fails.
                with contextlib.suppress(SourceError):
                    self._fetch(f"--shallow-exclude={tag}")
                    self._fetch("--deepen=1")  # the release: what the first commit after it is compared with
            if self.is_cut_off() and not self._is_complete(revision):
                self._fetch("--unshallow")
        return (f"{revision}..{self.head}",) if self.knows(revision) else None

    def after(self, moment: datetime) -> tuple[str, ...]:
        """The range of commits after a time, for a history that was rewritten since.

        Raises:
            SourceError: when the clone is shallow and cannot be deepened.
        """
        if self.is_cut_off():
            self._fetch("--unshallow")
        return (f"--since={moment.isoformat()}", self.head)

    def commits(
        self, revisions: Sequence[str], paths: Sequence[str], matters: Callable[[str], bool]
    ) -> Iterator[Commit]:
        """Commits that change a path that matters, newest first, read only as far as they are asked for.

        A merge counts as well where it changes something against its first parent.

        Raises:
            SourceError: when git cannot read them.
        """
        arguments = [
            "log",
            "--no-show-signature",
            "--show-pulls",
            "--diff-merges=first-parent",
            "--no-renames",
            "--name-only",
            "-z",
            "--format=%x00%x1e%B%x00",
            *revisions,
            "--",
            *_pathspecs(paths),
        ]
        failure = "The commits since the last release cannot be read"
        for commit in _parse(_stream(self.root, *arguments, failure=failure)):
            if any(map(matters, commit.paths)):
                yield commit

    def messages(self, *excluded: str) -> list[tuple[str, str]]:
        """The id and message of each commit of HEAD that is not a merge, newest first.

        Args:
            excluded: Commits that are left out with all before them.

        Raises:
            SourceError: when the clone is shallow, as commits may be missing then, or git does not know one.
        """
        if self.is_cut_off():
            raise SourceError("The clone does not have all commits", next_step=_DEEP)
        revisions = [self.head, *(f"^{revision}" for revision in excluded)]
        output = self._read("log", "--no-show-signature", "--no-merges", "-z", "--format=%H%n%B", *revisions)
        entries = (entry.partition("\n") for entry in output.split("\0") if entry)
        return [(commit, message) for commit, _, message in entries]

    def last_release(self) -> str:
        """The nearest git tag such as v1.2.0 below HEAD; empty before the first release."""
        done = run_git(self.root, "describe", "--tags", "--abbrev=0", "--match=v[0-9]*", self.head)
        return done.stdout.strip()

    def _shallow_file(self) -> Path:
        return self.root / self._read("rev-parse", "--git-path", "shallow").strip()

    def is_cut_off(self) -> bool:
        """Whether the clone was shallow and still is: git refuses to deepen a history that is complete."""
        return self.shallow and self._shallow_file().exists()

    def _is_complete(self, revision: str) -> bool:
        """Whether the commits after the revision are here, and what seems to be one is one.

        It is so when each of them has a parent, and each parent is another of them or the revision itself.
        The commit where a shallow clone ends seems to have no parent. A parent outside, or a root, may be an
        ancestor of the revision by a way that is cut off, and so may what is above it.
        """
        if not self.knows(revision):
            return False
        lines = self._read("rev-list", "--parents", f"{revision}..{self.head}").splitlines()
        parents = {commit: others for commit, *others in map(str.split, lines)}
        inside = {revision, *parents}
        return all(others and inside.issuperset(others) for others in parents.values())

    def knows(self, revision: str) -> bool:
        """Whether the commit is in this clone; nothing is fetched for the answer."""
        done = run_git(
            self.root, "cat-file", "-e", f"{revision}^{{commit}}", environment={"GIT_NO_LAZY_FETCH": "1"}
        )
        return done.returncode == 0

    def _remote_tag(self, tag: str) -> str:
        """The commit of a tag at the origin; empty when there is none."""
        if not tag:
            return ""
        lines = self._read(
            "ls-remote", "--tags", "origin", f"refs/tags/{tag}*", seconds=FETCH_SECONDS
        ).splitlines()
        found = {name: commit for commit, _, name in (line.partition("\t") for line in lines)}
        return found.get(f"refs/tags/{tag}^{{}}") or found.get(f"refs/tags/{tag}", "")

    def _fetch(self, how: str) -> None:
        self._read(
            "fetch",
            "--quiet",
            "--no-tags",
            "--filter=blob:none",
            how,
            "origin",
            self.head,
            seconds=FETCH_SECONDS,
        )

    def _read(
        self,
        *arguments: str,
        environment: dict[str, str] | None = None,
        given: str | None = None,
        seconds: float = 120,
    ) -> str:
        done = run_git(self.root, *arguments, environment=environment, given=given, seconds=seconds)
        if done.returncode:
            raise SourceError(
                f"git {arguments[0]} failed",
                cause=done.stderr.strip() or f"git returned {done.returncode}",
                next_step=_DEEP if arguments[0] in {"fetch", "ls-remote"} else FRESH_CLONE,
            )
        return done.stdout


def stripped(directory: Path, message: str) -> str:
    """A commit message as git keeps it: without comments, and without the diff that `commit --verbose` shows.

    Raises:
        SourceError: when git does not take it.
    """
    text = _SCISSORS.split(message, maxsplit=1)[0]
    done = run_git(directory, "stripspace", "--strip-comments", given=text)
    if done.returncode:
        raise SourceError("git stripspace failed", cause=done.stderr.strip(), next_step=FRESH_CLONE)
    return done.stdout.strip()


def file_sizes(directory: Path, commit: str) -> Iterator[int]:
    """The size of each file of a commit in bytes, one by one: a small repository can name billions of files.

    Raises:
        SourceError: when git cannot read them.
    """
    arguments = ["ls-tree", "-r", "-l", "-z", "--full-tree", commit]
    rest = b""
    for chunk in _stream(directory, *arguments, failure="The files of the commit cannot be read"):
        *lines, rest = (rest + chunk).split(b"\0")
        for line in lines:
            size = line.partition(b"\t")[0].split()[3]
            yield int(size) if size.isdigit() else 0  # a submodule has none


def _stream(directory: Path, *arguments: str, failure: str) -> Iterator[bytes]:
    """What a git command writes, as it comes; the command ends with who reads it.

    Raises:
        SourceError: with `failure` and git's words, when it fails.
    """
    with (
        tempfile.TemporaryFile() as problems,
        subprocess.Popen(
            ["git", "-C", str(directory), *arguments],
            bufsize=0,  # a read returns what there is, so the first commits are not waited for
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=problems,
            env=_environment(),
        ) as process,
    ):
        stream = cast(IO[bytes], process.stdout)
        try:
            yield from iter(lambda: stream.read(65536), b"")
            failed = process.wait() != 0
        finally:
            process.kill()  # enough was read
        problems.seek(0)
        cause = problems.read().decode(errors="replace").strip()
    if failed:
        raise SourceError(failure, cause=cause, next_step=_DEEP)


def _parse(chunks: Iterator[bytes]) -> Iterator[Commit]:
    """The commits in the output of `git log`: a message begins with RS, paths follow it."""
    message: str | None = None
    paths: list[str] = []
    rest = b""
    for chunk in chunks:
        *tokens, rest = (rest + chunk).split(b"\0")
        for token in tokens:
            text = token.decode(errors="surrogateescape")
            if text.startswith("\x1e"):
                if message is not None:
                    yield Commit(message, tuple(paths))
                message, paths = text[1:], []
            elif path := text.lstrip("\n"):
                paths.append(path)
    if message is not None:
        yield Commit(message, tuple(paths))


def _pathspecs(paths: Sequence[str]) -> list[str]:
    """Paths from the root, taken literally; none at all stands for everything."""
    return [] if "." in paths else [f":(top,literal){path}" for path in paths]


def _environment(more: dict[str, str] | None = None) -> dict[str, str]:
    """Ours, with git's messages in English, never a prompt, and no other repository than the directory's."""
    ours = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    return {**ours, "LC_ALL": "C.UTF-8", "LANGUAGE": "", "GIT_TERMINAL_PROMPT": "0", **(more or {})}


def run_git(
    directory: Path,
    *arguments: str,
    environment: dict[str, str] | None = None,
    given: str | None = None,
    seconds: float = 120,
) -> subprocess.CompletedProcess[str]:
    """What a git command says and returns, whatever it is.

    Raises:
        SourceError: when there is no git, or it does not end in time.
    """
    try:
        return subprocess.run(
            ["git", "-C", str(directory), *arguments],
            input=given if given is not None else "",
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=seconds,
            env=_environment(environment),
        )
    except FileNotFoundError as error:
        raise SourceError("git is missing", next_step="Install it: apt-get install git") from error
    except subprocess.TimeoutExpired as error:
        raise SourceError(
            f"git {arguments[0]} did not end within {seconds:.0f} s", next_step=_DEEP
        ) from error
