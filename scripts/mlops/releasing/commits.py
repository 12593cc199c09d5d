"""`mlops commits`: whether commit messages say what the next version is computed from.

    mlops commits --message FILE    one message, as git hands it to a commit-msg hook
    mlops commits                   the commits of a merge request, or those since the last release

Messages follow Conventional Commits, read by the parser that computes versions (`mlops.contracts.versions`).
What git writes by itself (a merge, a revert) has no type and needs none. docs/contribute/release.md has the
rules with their reasons.
"""

from __future__ import annotations

import argparse
import os
import re
from difflib import get_close_matches
from pathlib import Path

from mlops.base import console
from mlops.base.errors import CommitError, UsageError
from mlops.base.result import Outcome
from mlops.clients.git.repository import Repository, stripped
from mlops.contracts import versions

SUBJECT_LIMIT = 72  # what `git log` and GitLab show without cutting it off
# https://github.com/conventional-changelog/commitlint/tree/master/@commitlint/config-conventional
TYPES = ("build", "chore", "ci", "docs", "feat", "fix", "perf", "refactor", "revert", "style", "test")
# A reader of these cannot see from the change alone why it was made.
REASONED = ("feat", "fix", "perf", "refactor")

_BY_GIT = re.compile(r'(Revert|Reapply) "')
_UNFINISHED = re.compile(r"(fixup|squash|amend)! ")
_TRAILER = re.compile(r"[A-Z][A-Za-z]*(-[A-Za-z]+)+: \S")
_NEXT_STEP = (
    "Reword it: `git commit --amend`, or `git rebase -i` for an older one. docs/contribute/release.md has"
    " the rules."
)


def run(arguments: argparse.Namespace) -> Outcome:
    """Check the message in a file, or the commits of this clone.

    Raises:
        CommitError: naming each commit and what is wrong with it.
        SourceError: when the history does not reach back far enough.
    """
    if arguments.message:
        return _check_file(Path(arguments.message))
    repository = Repository.open(Path.cwd())
    since = os.environ.get("CI_MERGE_REQUEST_DIFF_BASE_SHA") or repository.last_release()
    after = arguments.after
    if after and not repository.knows(after):
        # such as in a repository that was imported as one commit
        console.say(f"{after[:8]} is not in this history, so no commit is left out for it")
        after = ""
    commits = repository.messages(*(one for one in (since, after) if one))
    found = {commit: wrong for commit, text in commits if (wrong := problems(text))}
    if found:
        subjects = {commit: text.partition("\n")[0] for commit, text in commits}
        lines = [f"{commit[:8]} {subjects[commit]}: {'; '.join(wrong)}" for commit, wrong in found.items()]
        raise CommitError(
            f"{len(found)} of {len(commits)} commit messages cannot be taken",
            cause="\n".join(lines),
            next_step=_NEXT_STEP,
        )
    return Outcome(
        summary=f"✓ {len(commits)} commit messages say what changes and why",
        data={"commits": [commit for commit, _ in commits], "since": since},
    )


def problems(message: str, *, draft: bool = False) -> list[str]:
    """What is wrong with the message of a commit that is not a merge; empty when nothing is.

    Args:
        message: Without git's comments.
        draft: Whether it may still be `fixup!`, which `git rebase --autosquash` puts into another commit.
    """
    subject, _, rest = message.strip().partition("\n")
    if _BY_GIT.match(subject):
        return []
    if _UNFINISHED.match(subject):
        return [] if draft else ["it belongs into another commit: run `git rebase -i --autosquash`"]
    found = []
    if len(subject) > SUBJECT_LIMIT:
        found.append(f"its first line has {len(subject)} characters, and {SUBJECT_LIMIT} is the limit")
    header = versions.header_of(subject)
    if header is None:
        found.append(f"its first line is not `{versions.FORM}`")
    elif header.type not in TYPES:
        close = get_close_matches(header.type.lower(), TYPES, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(TYPES)}"
        found.append(f"{header.type} is not a type of change: {hint}")
    if rest and not rest.startswith("\n"):
        found.append("its second line is not empty")
    if header and (header.breaking or header.type in REASONED) and not _has_reason(rest):
        kind = "a breaking change" if header.breaking else f"a {header.type}"
        found.append(f"{kind} needs its reason, in a paragraph below the first line")
    return found


def _has_reason(rest: str) -> bool:
    """Whether anything stands below the first line that is not a trailer, such as `Co-authored-by: ...`."""
    return any(line.strip() and not _TRAILER.match(line) for line in rest.splitlines())


def _check_file(file: Path) -> Outcome:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read", cause=str(error), next_step="Name the file that git gave to the hook."
        ) from error
    message = stripped(file.parent, text)
    if not message:
        return Outcome(summary="The message is empty, which git refuses by itself")
    if not _is_merge(file, message) and (wrong := problems(message, draft=True)):
        raise CommitError(
            f"The message {message.partition(chr(10))[0]!r} cannot be taken",
            cause="\n".join(wrong),
            next_step=f"What you wrote is in {file}: `git commit --edit --file {file}` takes it up again.",
        )
    return Outcome(summary="✓ The commit message says what changes and why")


def _is_merge(file: Path, message: str) -> bool:
    """Whether git is about to commit a merge: MERGE_HEAD lies beside the message then."""
    return message.startswith("Merge ") and file.with_name("MERGE_HEAD").exists()
