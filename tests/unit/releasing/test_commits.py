"""What a commit message must say."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.contracts import versions
from mlops.releasing.commits import REASONED, SUBJECT_LIMIT, TYPES, problems

REASON = "\n\nBecause of that."


@pytest.mark.parametrize(
    "message",
    [
        "docs: explain",
        "test(local): count the processes",
        "chore(release): 1.0.0",
        f"feat: score in batches{REASON}",
        f"fix(train)!: take another input{REASON}",
        "docs!: x\n\nBREAKING CHANGE: the page has moved",
        f"fix: {'x' * 67}{REASON}",
        f"fix: close the file{REASON}\n\nCo-authored-by: Ann <ann@example.org>",
        f"feat: trailing lines{REASON}\n\n\n",
        # as git writes them, whatever the length
        f'Revert "feat: {"x" * 66}"\n\nThis reverts commit 1a2b3c4d.',
        'Reapply "feat: score in batches"\n\nThis reverts commit 1a2b3c4d.',
    ],
)
def test_a_message_that_is_taken(message: str) -> None:
    assert problems(message) == []


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Tidy up", "its first line is not `<type>(<scope>): <what it does>`"),
        ("fix:no space", "its first line is not"),
        ("Merge branch 'x' into 'main'", "its first line is not"),
        ("", "its first line is not"),
        ("feature: x", "feature is not a type of change: did you mean feat?"),
        (f"Feat: x{REASON}", "Feat is not a type of change: did you mean feat?"),
        ("zzz: x", "zzz is not a type of change: there are build, chore, ci,"),
        (f"docs: {'x' * 67}", "its first line has 73 characters, and 72 is the limit"),
        ("docs: x\nand more", "its second line is not empty"),
        ("feat: x", "a feat needs its reason, in a paragraph below the first line"),
        ("fix: x\n\n", "a fix needs its reason"),
        ("perf: x\n\nCo-authored-by: Ann <ann@example.org>", "a perf needs its reason"),
        ("docs!: x", "a breaking change needs its reason"),
        ("fixup! docs: x", "it belongs into another commit"),
        ("squash! docs: x", "it belongs into another commit"),
    ],
)
def test_a_message_that_is_not_taken(message: str, said: str) -> None:
    found = problems(message)

    assert len([one for one in found if said in one]) == 1, found


def test_everything_is_said_at_once() -> None:
    assert len(problems(f"fixes: {'x' * 70}\nmore")) == 3


def test_a_commit_for_autosquash_is_a_draft() -> None:
    assert problems("fixup! docs: x", draft=True) == []
    assert problems("Tidy up", draft=True)


@given(st.sampled_from(TYPES), st.sampled_from(["", "(train)"]), st.sampled_from(["", "!"]), st.text("ab c"))
def test_what_is_taken_has_the_version_that_it_says(kind: str, scope: str, breaking: str, words: str) -> None:
    """The rule and the next version read a message alike: what passes here never counts as something else."""
    message = f"{kind}{scope}{breaking}: a{words[:40]}{REASON}"

    assert problems(message) == []
    expected = "major" if breaking else "minor" if kind == "feat" else "patch"
    assert versions.bump_of(message) == expected
    assert expected in get_args(versions.Bump)


def test_the_rules_are_documented() -> None:
    from mlops_local.base import paths

    page = (paths.checkout() / "docs" / "contribute" / "release.md").read_text(encoding="utf-8")
    section = page.partition("## Commit messages\n")[2].partition("\n## ")[0]

    assert all(f"`{kind}`" in section for kind in TYPES)
    assert f"{SUBJECT_LIMIT} characters" in section
    assert f"{', '.join(f'`{kind}`' for kind in REASONED[:-1])} and `{REASONED[-1]}`" in section
