"""Which job runs in which kind of pipeline: docs/guides/pipeline.md, evaluated by a pipeline engine."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from mlops.base.errors import LocalStackError
from mlops_local.base import paths
from mlops_local.pipelines.variables import PipelineTrigger

PIPELINE = {
    "include": [{"local": "/ci-templates/model-pipeline.yml", "inputs": {"model": "phishing-url"}}],
}
TRAINING = {
    "include": [
        {
            "local": "/ci-templates/model-pipeline.yml",
            "inputs": {"model": "phishing-url", "train-on-merge-request": True},
        }
    ],
}

CHECKS = {"lint": "on_success", "test": "on_success"}
TRAINED = {"containerize": "on_success", "train": "on_success", "evaluate": "on_success"}
RETRAINED = {"retrain": "on_success", "notify": "on_failure"}
EVERYTHING = {**CHECKS, **TRAINED, "deploy": "manual", "notify": "on_failure"}

MERGE_REQUEST = PipelineTrigger(kind="merge_request", ref="topic", merge_request=42)

TABLE: list[tuple[str, dict[str, Any], PipelineTrigger, dict[str, str], dict[str, str]]] = [
    ("push to the default branch", PIPELINE, PipelineTrigger(), {}, EVERYTHING),
    ("another branch", PIPELINE, PipelineTrigger(ref="topic"), {}, CHECKS),
    (
        "another branch with a merge request",
        PIPELINE,
        PipelineTrigger(ref="topic"),
        {"CI_OPEN_MERGE_REQUESTS": "models/phishing-url!42"},
        {},
    ),
    ("merge request", PIPELINE, MERGE_REQUEST, {}, {**CHECKS, "containerize": "on_success"}),
    ("merge request that trains", TRAINING, MERGE_REQUEST, {}, {**CHECKS, **TRAINED}),
    ("tag", PIPELINE, PipelineTrigger(kind="tag", ref="phishing-url/v1.3.0"), {}, {}),
    ("schedule", PIPELINE, PipelineTrigger(kind="schedule"), {}, RETRAINED),
    ("schedule that trains", TRAINING, PipelineTrigger(kind="schedule"), {}, RETRAINED),
    (
        "schedule to retrain",
        PIPELINE,
        PipelineTrigger(kind="schedule"),
        {"MLOPS_SCHEDULE": "retrain"},
        RETRAINED,
    ),
    (
        "schedule for something else",
        PIPELINE,
        PipelineTrigger(kind="schedule"),
        {"MLOPS_SCHEDULE": "nightly"},
        {},
    ),
    ("schedule of another branch", PIPELINE, PipelineTrigger(kind="schedule", ref="topic"), {}, {}),
    ("downstream", PIPELINE, PipelineTrigger(), {"CI_PIPELINE_SOURCE": "pipeline"}, EVERYTHING),
    ("started by a person", PIPELINE, PipelineTrigger(), {"CI_PIPELINE_SOURCE": "web"}, EVERYTHING),
]


@pytest.mark.parametrize(
    ("configuration", "trigger", "variables", "expected"),
    [row[1:] for row in TABLE],
    ids=[row[0] for row in TABLE],
)
def test_jobs_of_a_pipeline(
    planner: Any,
    configuration: dict[str, Any],
    trigger: PipelineTrigger,
    variables: dict[str, str],
    expected: dict[str, str],
) -> None:
    jobs = planner(configuration, trigger, **variables)

    assert {name: job.when for name, job in jobs.items()} == expected


def test_the_pipeline_is_green_without_deploy_and_a_failed_gate_is_a_warning(planner: Any) -> None:
    jobs = planner(PIPELINE)

    assert jobs["deploy"].tolerates(1)
    assert jobs["evaluate"].tolerates(40)
    assert not any(jobs["evaluate"].tolerates(code) for code in (1, 2, 31, 32, 33))
    assert not any(jobs[name].tolerates(1) for name in ("lint", "test", "containerize", "train", "notify"))


def test_a_job_waits_for_those_whose_variables_it_uses(planner: Any) -> None:
    jobs = planner(PIPELINE)

    assert {name: job.needs for name, job in jobs.items()} == {
        "lint": ("fetch",),
        "test": ("fetch",),
        "containerize": ("fetch", "lint", "test"),
        "train": ("fetch", "containerize"),
        "evaluate": ("fetch", "containerize", "train"),
        "deploy": ("fetch", "containerize", "train", "evaluate"),
        "notify": None,
    }


@pytest.mark.parametrize("stage", ["lint", "test", "containerize", "train", "evaluate", "deploy", "notify"])
def test_each_stage_works_alone(planner: Any, stage: str) -> None:
    inputs: dict[str, str] = {} if stage in ("lint", "test") else {"model": "phishing-url"}
    own = {"stage": "elsewhere"} if stage != "notify" else {}
    include = {"local": f"/ci-templates/{stage}.yml", "inputs": {**inputs, **own}}

    jobs = planner({"stages": ["elsewhere"], "include": [include]})

    assert [(job.name, job.stage) for job in jobs.values()] == [(stage, own.get("stage", ".post"))]


def test_two_models_share_a_repository(planner: Any) -> None:
    includes = [
        {
            "local": "/ci-templates/model-pipeline.yml",
            "inputs": {"model": name, "job-prefix": f"{name}:"},
        }
        for name in ("phishing-url", "spam")
    ]

    jobs = planner({"include": includes})

    assert len(jobs) == 14
    assert jobs["spam:evaluate"].needs == ("spam:fetch", "spam:containerize", "spam:train")


def test_jobs_of_the_repository_keep_gitlabs_default_stages(planner: Any) -> None:
    own = {name: {"stage": name, "script": ["true"]} for name in ("build", "deploy", ".post")}
    own = {f"my {name}": job for name, job in own.items()} | {"unstaged": {"script": ["true"]}}

    jobs = planner({**PIPELINE, **own})

    assert {name: job.stage for name, job in jobs.items() if name not in EVERYTHING} == {
        "my build": "build",
        "my deploy": "deploy",
        "my .post": ".post",
        "unstaged": "test",
    }


def test_defaults_of_the_repository_stay_out_of_our_jobs(planner: Any, templates: Any) -> None:
    jobs = planner({**PIPELINE, "default": {"before_script": ["exit 1"], "image": "ruby"}})

    assert set(jobs) == set(EVERYTHING)
    for name in EVERYTHING:
        assert templates[name].job["inherit"] == {"default": ["tags"]}


def test_workflow_allows_one_pipeline_a_change(templates: Any) -> None:
    rules = templates["workflow"].filled()["workflow"]["rules"]

    assert [rule.get("when", "always") for rule in rules] == ["never", "always", "never", "always", "always"]
    assert "$CI_OPEN_MERGE_REQUESTS" in rules[2]["if"]


@pytest.mark.parametrize(
    ("trigger", "variables", "runs"),
    [
        (PipelineTrigger(), {}, True),
        (PipelineTrigger(ref="topic"), {}, True),
        (PipelineTrigger(ref="topic"), {"CI_OPEN_MERGE_REQUESTS": "models/phishing-url!42"}, False),
        (MERGE_REQUEST, {}, True),
        (PipelineTrigger(kind="tag", ref="v1"), {}, False),
    ],
)
def test_the_workflow_decides_for_jobs_of_ones_own(
    planner: Any, trigger: PipelineTrigger, variables: dict[str, str], runs: bool
) -> None:
    include = [{"local": "/ci-templates/workflow.yml"}]

    assert bool(planner({"include": include, "own": {"script": ["true"]}}, trigger, **variables)) is runs


@pytest.mark.parametrize(
    "inputs", [{"environmnt": "dev"}, {"train_on_merge_request": True}, {"changed_paths": []}]
)
def test_a_misspelt_input_makes_no_pipeline(planner: Any, inputs: dict[str, Any]) -> None:
    (include,) = PIPELINE["include"]
    given = {"model": "phishing-url", **inputs}

    with pytest.raises(LocalStackError) as caught:
        planner({"include": [{**include, "inputs": given}]})

    (name,) = inputs
    assert caught.value.cause == f"`ci-templates/model-pipeline.yml`: unknown input arguments: {name}"


def test_an_include_that_its_rules_leave_out_is_not_looked_at(planner: Any) -> None:
    include = {"local": "/ci-templates/lint.yml", "inputs": {"no": 1}, "rules": [{"if": "$CI_COMMIT_TAG"}]}
    configuration = {"include": [include], "own": {"script": ["true"]}}

    assert set(planner(configuration)) == {"own"}
    with pytest.raises(LocalStackError, match="CI file is not valid"):
        planner(configuration, PipelineTrigger(kind="tag", ref="v1"))


def test_a_job_of_ones_own_that_needs_what_is_not_there(planner: Any) -> None:
    smoke: dict[str, Any] = {"stage": "deploy", "script": ["true"], "needs": ["containerize"]}

    with pytest.raises(LocalStackError) as caught:
        planner({**PIPELINE, "smoke": smoke}, PipelineTrigger(kind="schedule"))
    assert "'smoke' job needs 'containerize' job, but 'containerize' does not exist" in caught.value.cause

    smoke["needs"] = [{"job": "containerize", "optional": True}]
    assert "smoke" in planner({**PIPELINE, "smoke": smoke}, PipelineTrigger(kind="schedule"))


@pytest.mark.parametrize(
    ("trigger", "smoke"),
    [
        (PipelineTrigger(), True),
        (MERGE_REQUEST, True),
        (PipelineTrigger(ref="topic"), False),
        (PipelineTrigger(kind="schedule"), False),
        (PipelineTrigger(kind="tag", ref="phishing-url/v1.3.0"), False),
    ],
    ids=["push", "merge request", "branch", "schedule", "tag"],
)
def test_a_job_as_the_docs_show_it_leaves_every_pipeline_as_it_is(
    planner: Any, trigger: PipelineTrigger, smoke: bool
) -> None:
    page = (paths.checkout() / "docs" / "guides" / "pipeline.md").read_text(encoding="utf-8")
    assert "needs: [containerize]" not in page
    (block,) = re.findall(r"```yaml\n(smoke:.*?)```", page, re.DOTALL)
    own = yaml.safe_load(block)

    ours, jobs = planner(PIPELINE, trigger), planner({**PIPELINE, **own}, trigger)

    assert set(jobs) == set(ours) | ({"smoke"} if smoke else set())
    # GitLab creates no pipeline where a job needs one that is missing and not optional.
    assert [need for need in own["smoke"]["needs"] if not need["optional"] and need["job"] not in jobs] == []
    assert ("containerize" in jobs) is smoke
