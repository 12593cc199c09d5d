"""The predefined variables, read back by the code that jobs run."""

from __future__ import annotations

import pytest

from mlops.ci.pipeline import Kind, Pipeline
from mlops_local.gitlab.pipelines import StoredPipeline as LocalPipeline
from mlops_local.pipelines.variables import SOURCES, CommitDetails, PipelineTrigger, predefined, slug

SERVER = "http://127.0.0.1:4000"


def _variables(trigger: PipelineTrigger) -> dict[str, str]:
    pipeline = LocalPipeline(
        id=12,
        iid=3,
        project_id=5,
        project_path="web-safety/models/phishing-url",
        ref=trigger.ref,
        sha="a" * 40,
        source=SOURCES[trigger.kind],
        created_at="2026-01-01T00:00:00Z",
    )
    commit = CommitDetails(
        sha="a" * 40, before="", message="feat: one\n\nMore.", author="Ada <a@b>", timestamp="t"
    )
    return predefined(pipeline, trigger, commit, SERVER)


@pytest.mark.parametrize(
    ("trigger", "kind"),
    [
        (PipelineTrigger(), "default_branch"),
        (PipelineTrigger(ref="topic"), "branch"),
        (PipelineTrigger(kind="merge_request", ref="topic", merge_request=42), "merge_request"),
        (PipelineTrigger(kind="tag", ref="v1.0.0"), "tag"),
        (PipelineTrigger(kind="schedule"), "schedule"),
    ],
)
def test_jobs_recognize_their_pipeline(trigger: PipelineTrigger, kind: Kind) -> None:
    pipeline = Pipeline.from_environment(_variables(trigger))

    assert pipeline.kind == kind
    assert (pipeline.pipeline_id, pipeline.pipeline_iid, pipeline.project_id) == ("12", 3, "5")
    assert pipeline.merge_request_iid == (42 if kind == "merge_request" else None)
    assert (pipeline.ref, pipeline.server_url) == (trigger.ref, SERVER)
    assert pipeline.origin.commit_title == "feat: one"
    assert pipeline.origin.pipeline_url == f"{SERVER}/web-safety/models/phishing-url/-/pipelines/12"


def test_facts_of_the_project_and_commit() -> None:
    variables = _variables(PipelineTrigger())

    assert variables["CI_PROJECT_NAMESPACE"] == "web-safety/models"
    assert variables["CI_PROJECT_NAME"] == "phishing-url"
    assert variables["CI_REPOSITORY_URL"] == f"{SERVER}/web-safety/models/phishing-url.git"
    assert variables["CI_API_V4_URL"] == f"{SERVER}/api/v4"
    assert variables["CI_SERVER_PORT"] == "4000"
    assert variables["CI_COMMIT_DESCRIPTION"] == "More."
    assert variables["CI_COMMIT_BEFORE_SHA"] == "0" * 40
    assert variables["CI_COMMIT_REF_PROTECTED"] == "true"
    assert _variables(PipelineTrigger(ref="topic"))["CI_COMMIT_REF_PROTECTED"] == "false"


@pytest.mark.parametrize(
    ("text", "expected"), [("Feature/One_Two", "feature-one-two"), ("-a-", "a"), ("x" * 70, "x" * 63)]
)
def test_slugs(text: str, expected: str) -> None:
    assert slug(text) == expected
