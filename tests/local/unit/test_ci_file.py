"""What GitLab refuses in a CI file, in its words, and what the local GitLab does not play."""

from __future__ import annotations

from typing import Any

import pytest

from mlops.base.errors import LocalStackError
from mlops_local.pipelines import ci_file

RUNS = {"script": ["true"]}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "only": ({"a": {**RUNS, "only": ["develop"]}}, "a (only)"),
    "except": ({"a": RUNS, "b": {**RUNS, "except": ["main"]}}, "b (except)"),
    "only by variables": ({"a": {**RUNS, "only": {"variables": ["$NOPE"]}}}, "a (only)"),
    "only beside rules": (
        {"a": {**RUNS, "only": ["main"], "rules": [{"when": "always"}]}},
        "jobs:a config key may not be used with `rules`: only",
    ),
    "a circle": (
        {
            "a": {**RUNS, "needs": ["b"]},
            "b": {**RUNS, "needs": [{"job": "c"}]},
            "c": {**RUNS, "needs": ["a"]},
        },
        "The pipeline has circular dependencies: topological sort failed: [",
    ),
    "itself": (
        {"a": {**RUNS, "needs": ["a"]}},
        "The pipeline has circular dependencies: self-dependency: a",
    ),
    "hidden jobs only": (
        {".a": RUNS, "variables": {"A": "b"}, "workflow": {"rules": []}},
        "jobs config should contain at least one visible job",
    ),
    "nothing": ({}, "jobs config should contain at least one visible job"),
}


@pytest.mark.parametrize(("document", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(document: dict[str, Any], reason: str) -> None:
    with pytest.raises(LocalStackError) as caught:
        ci_file.check(document)

    assert reason in caught.value.cause
    assert caught.value.next_step


def test_what_is_taken() -> None:
    ci_file.check(
        {
            "stages": ["build"],
            "default": {"tags": ["a"]},
            ".old": {"only": ["main"]},
            "a": {**RUNS, "only": None, "rules": [{"if": "$A"}]},
            "b": {
                **RUNS,
                "needs": ["a", {"pipeline": "$UPSTREAM"}, {"project": "b/b", "job": "b", "ref": "main"}],
            },
        }
    )


def test_a_job_that_the_rules_left_out_cannot_be_needed() -> None:
    ci_file.check_needs({"smoke": ["build"], "build": []}, ["smoke", "build"])

    with pytest.raises(LocalStackError) as caught:
        ci_file.check_needs({"smoke": ["containerize"]}, ["smoke"])

    assert caught.value.cause == (
        "'smoke' job needs 'containerize' job, but 'containerize' does not exist in the pipeline. This might be "
        "because of the only, except, or rules keywords. To need a job that sometimes does not exist in the "
        "pipeline, use needs:optional."
    )


@pytest.mark.parametrize("include", [[{"local": "c.yml"}], "c.yml"])
def test_a_child_pipeline_is_not_played(include: Any) -> None:
    ci_file.check_children(
        {"a": RUNS, "b": {"trigger": "group/project"}, "c": {"trigger": {"project": "g/p"}}}
    )

    with pytest.raises(LocalStackError, match="child pipelines") as caught:
        ci_file.check_children({"t": {"trigger": {"include": include, "strategy": "depend"}}})

    assert "t" in caught.value.cause
