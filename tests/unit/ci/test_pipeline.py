from __future__ import annotations

import pytest

from mlops.base.errors import SettingsError
from mlops.ci.pipeline import Pipeline

PUSH = {"CI_PIPELINE_SOURCE": "push", "CI_COMMIT_BRANCH": "main", "CI_DEFAULT_BRANCH": "main"}


@pytest.mark.parametrize(
    ("variables", "kind"),
    [
        ({}, "local"),
        (PUSH, "default_branch"),
        ({**PUSH, "CI_COMMIT_BRANCH": "topic"}, "branch"),
        ({**PUSH, "CI_PIPELINE_SOURCE": "schedule"}, "schedule"),
        ({"CI_PIPELINE_SOURCE": "merge_request_event", "CI_MERGE_REQUEST_IID": "42"}, "merge_request"),
        ({"CI_PIPELINE_SOURCE": "push", "CI_COMMIT_TAG": "v1"}, "tag"),
        ({**PUSH, "CI_PIPELINE_SOURCE": "web"}, "default_branch"),
    ],
)
def test_the_kind_of_a_pipeline(variables: dict[str, str], kind: str) -> None:
    assert Pipeline.from_environment(variables).kind == kind


def test_what_comes_of_a_merge_request_says_so_however_its_pipeline_was_started() -> None:
    child = {"CI_PIPELINE_SOURCE": "parent_pipeline", "CI_MERGE_REQUEST_IID": "42"}
    said = {"CHANGE": "merge_request", "MERGE_REQUEST": "42", "SOURCE": "api"}
    downstream = {"CI_PIPELINE_SOURCE": "pipeline"} | {f"MLOPS_UPSTREAM_{key}": said[key] for key in said}
    for variables in (child, downstream):
        assert Pipeline.from_environment(variables).origin.pipeline_source == "merge_request_event"
    assert Pipeline.from_environment(PUSH).origin.pipeline_source == "push"


def test_numbers_are_numbers() -> None:
    pipeline = Pipeline.from_environment({**PUSH, "CI_PIPELINE_IID": "7", "CI_MERGE_REQUEST_IID": "42"})
    assert (pipeline.pipeline_iid, pipeline.merge_request_iid) == (7, 42)


def test_a_variable_that_must_be_a_number_says_so() -> None:
    with pytest.raises(SettingsError, match="CI_PIPELINE_IID"):
        Pipeline.from_environment({"CI_PIPELINE_IID": "seven"})


def test_a_long_commit_title_is_cut() -> None:
    assert len(Pipeline.from_environment({"CI_COMMIT_TITLE": "x" * 999}).origin.commit_title) == 200
