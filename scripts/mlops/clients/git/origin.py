"""The repository a clone came from: what it has, and one push of a release to it.

Nothing of the clone itself changes on the way: a commit is made without touching the work tree, no branch or
tag is made, and what is fetched lies below `refs/mlops/`. So a job that was killed leaves nothing behind.
"""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from semver import Version

from mlops.base.errors import ReleaseError, SourceError
from mlops.clients.git.repository import FETCH_SECONDS, FRESH_CLONE, Repository, run_git
from mlops.contracts import versions

_RELEASES = "refs/mlops/releases/"
_BRANCH = "refs/mlops/branch"
_SETUP = "Check the project's settings against docs/contribute/release.md."


@dataclass(frozen=True)
class Author:
    """Who makes a commit; empty for whom git knows."""

    name: str = ""
    email: str = ""


@dataclass(frozen=True)
class RemoteRepository:
    """A repository at a URL or under a remote's name. The token is the job's, and in no command line."""

    repository: Repository
    url: str
    token: str = ""

    def refs(self) -> dict[str, str]:
        """The commit of every branch and tag, by its full name.

        Raises:
            SourceError: when the origin does not answer.
        """
        lines = self._run("ls-remote", "--heads", "--tags", self.url).splitlines()
        found = {name: commit for commit, _, name in (line.partition("\t") for line in lines)}
        peeled = {name.removesuffix("^{}"): commit for name, commit in found.items() if name.endswith("^{}")}
        return {name: commit for name, commit in found.items() if not name.endswith("^{}")} | peeled

    def fetch(self, branch: str) -> str:
        """Fetch a branch and every release, with their whole history; returns the branch's commit.

        Raises:
            SourceError: when the origin does not answer, or has no such branch.
        """
        deepen = ["--unshallow"] if self.repository.is_cut_off() else []
        wanted = (f"+refs/heads/{branch}:{_BRANCH}", f"+refs/tags/v*:{_RELEASES}v*")
        self._run("fetch", "--quiet", "--no-tags", "--prune", *deepen, self.url, *wanted)
        return self._run("rev-parse", f"{_BRANCH}^{{commit}}").strip()

    def releases(self, *how: str) -> dict[Version, str]:
        """The fetched releases and their commits.

        Args:
            how: What git may choose by: `--merged` or `--contains`, and a commit.
        """
        shape = "--format=%(refname) %(objectname) %(*objectname)"
        found = {}
        for line in self._run("for-each-ref", shape, *how, _RELEASES).splitlines():
            name, *commits = line.split()
            if version := versions.parse_release(name.removeprefix(f"{_RELEASES}v")):
                found[version] = commits[-1]
        return found

    def file(self, commit: str, path: str) -> str:
        """A file of a commit, as text.

        Raises:
            SourceError: when it has none.
        """
        return self._run("cat-file", "blob", f"{commit}:{path}")

    def commit(self, files: Mapping[str, str], message: str, author: Author) -> str:
        """A commit on the clone's HEAD that changes these files; nothing refers to it yet.

        Raises:
            SourceError: when git cannot make it.
        """
        who = {
            f"GIT_{role}_{fact}": value
            for role in ("AUTHOR", "COMMITTER")
            for fact, value in (("NAME", author.name), ("EMAIL", author.email))
            if value
        }
        with tempfile.TemporaryDirectory() as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            self._run("read-tree", self.repository.head, environment=index)
            for path, text in files.items():
                blob = self._run("hash-object", "-w", "--stdin", given=text).strip()
                self._run("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", environment=index)
            tree = self._run("write-tree", environment=index).strip()
        arguments = ("commit-tree", tree, "-p", self.repository.head, "-F", "-")
        return self._run(*arguments, environment=who, given=message).strip()

    def push(self, updates: Mapping[str, str], expected: Mapping[str, str]) -> bool:
        """Set every ref or none; False when another push changed one meanwhile.

        Args:
            updates: The commit for each full name of a branch or tag.
            expected: What the origin had, as `refs` returned it. A tag moves only from there; a branch only
            forward.

        Raises:
            ReleaseError: when the origin refuses for another reason.
        """
        tags = [name for name in updates if name.startswith("refs/tags/")]
        leases = [f"--force-with-lease={name}:{expected.get(name, '')}" for name in tags]
        moves = [f"{commit}:{name}" for name, commit in updates.items()]
        done = run_git(
            self.repository.root,
            *("push", "--atomic", "--quiet", "--no-verify", *leases, self.url, *moves),
            environment=self._environment(),
            seconds=FETCH_SECONDS,
        )
        if done.returncode == 0:
            return True
        now = self.refs()
        if any(now.get(name, "") != expected.get(name, "") for name in updates):
            return False
        raise ReleaseError("The release was not pushed", cause=done.stderr.strip(), next_step=_SETUP)

    def _run(
        self, *arguments: str, environment: Mapping[str, str] | None = None, given: str | None = None
    ) -> str:
        done = run_git(
            self.repository.root,
            *arguments,
            environment={**self._environment(), **(environment or {})},
            given=given,
            seconds=FETCH_SECONDS,
        )
        if done.returncode:
            raise SourceError(
                f"git {arguments[0]} failed",
                cause=done.stderr.strip() or f"git returned {done.returncode}",
                next_step=_SETUP if arguments[0] in {"ls-remote", "fetch"} else FRESH_CLONE,
            )
        return done.stdout

    def _environment(self) -> dict[str, str]:
        """The token as a header, which git reads from its environment: neither `ps` nor an error shows it."""
        if not self.token:
            return {}
        grant = base64.b64encode(f"gitlab-ci-token:{self.token}".encode()).decode()
        count = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
        return {
            "GIT_CONFIG_COUNT": str(count + 1),
            f"GIT_CONFIG_KEY_{count}": f"http.{self.url}.extraHeader",
            f"GIT_CONFIG_VALUE_{count}": f"Authorization: Basic {grant}",
        }
