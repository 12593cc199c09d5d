"""Pipelines that another project starts here: which jobs they have, and what they can never reach."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mlops_local.base import paths
from mlops_local.pipelines.variables import PipelineTrigger

from ..templates.conftest import Template

FILE = Template(paths.checkout() / ".gitlab-ci.yml")
COMMIT = "a" * 40
SAID = {
    "model": "spam",
    "upstream_project_id": "7",
    "upstream_project_path": "models/spam",
    "upstream_commit": COMMIT,
    "upstream_ref": "main",
    "upstream_default_branch": "main",
    "upstream_source": "push",
    "upstream_merge_request": "$CI_MERGE_REQUEST_IID",
}
DOWNSTREAM = {"CI_PIPELINE_SOURCE": "pipeline"}

ALWAYS = {"fetch": "on_success", "answer": "on_success", "answer-failure": "on_failure"}
CHECKS = {"lint": "on_success", "test": "on_success"}
TRAINED = {"containerize": "on_success", "train": "on_success", "evaluate": "on_success"}
EVERYTHING = {**ALWAYS, **CHECKS, **TRAINED, "deploy": "manual", "notify": "on_failure"}
MERGE_REQUEST = {
    "upstream_source": "merge_request_event",
    "upstream_ref": "topic",
    "upstream_merge_request": "42",
}

TABLE: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    ("push to the default branch", {}, EVERYTHING),
    ("its full name", {"upstream_ref": "refs/heads/main"}, EVERYTHING),
    (
        "another default branch",
        {"upstream_ref": "trunk", "upstream_default_branch": "trunk"},
        EVERYTHING,
    ),
    ("another branch", {"upstream_ref": "topic"}, {**ALWAYS, **CHECKS}),
    ("merge request", MERGE_REQUEST, {**ALWAYS, **CHECKS, "containerize": "on_success"}),
    (
        "merge request that trains",
        {**MERGE_REQUEST, "train_on_merge_request": True},
        {**ALWAYS, **CHECKS, **TRAINED},
    ),
    (
        "merge request of a branch called as the default one",
        {**MERGE_REQUEST, "upstream_ref": "main"},
        {**ALWAYS, **CHECKS, "containerize": "on_success"},
    ),
]


def said(**more: Any) -> Any:
    return FILE.filled(**{**SAID, **more})


@pytest.fixture(scope="module")
def jobs(planner: Any) -> Any:
    return planner(said(), PipelineTrigger(), **DOWNSTREAM)


@pytest.mark.parametrize(("claims", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_jobs_of_a_pipeline(planner: Any, claims: dict[str, Any], expected: dict[str, str]) -> None:
    """The model's jobs, by names of the model, and none of the platform's own."""
    jobs = planner(said(**claims), PipelineTrigger(), **DOWNSTREAM)

    assert {name: job.when for name, job in jobs.items()} == {
        f"spam:{name}": when for name, when in expected.items()
    }


@pytest.mark.parametrize("source", ["push", "web", "schedule", "merge_request_event"])
def test_our_own_pipelines_have_no_model(planner: Any, source: str) -> None:
    trigger = (
        PipelineTrigger(kind="merge_request", ref="topic", merge_request=1)
        if "merge" in source
        else PipelineTrigger()
    )

    jobs = planner(said(), trigger, CI_PIPELINE_SOURCE=source)

    assert [name for name in jobs if name.startswith("spam:")] == []


@pytest.mark.parametrize(("model", "runs"), [("spam", True), ("none", False)])
def test_a_pipeline_of_another_project_says_its_model(planner: Any, model: str, runs: bool) -> None:
    rules = said(model=model)["workflow"]["rules"]
    shown = [
        {"when": "always", **{key: rule[key] for key in ("if", "when") if key in rule}} for rule in rules
    ]

    probed = planner({"probe": {"script": ["true"], "rules": shown}}, PipelineTrigger(), **DOWNSTREAM)

    assert bool(probed) is runs
    # Otherwise the next push to this repository would stop every model's training.
    assert rules[0]["auto_cancel"] == {"on_new_commit": "none"}


def test_nothing_runs_before_the_code_is_checked(jobs: Any) -> None:
    waiting = {"lint", "test", "containerize", "train", "evaluate", "deploy"}

    assert all("spam:fetch" in jobs[f"spam:{name}"].needs for name in waiting)
    # What has no needs waits for all stages before its own.
    assert {name for name, job in jobs.items() if job.needs is None} == {
        "spam:notify",
        "spam:answer",
        "spam:answer-failure",
    }


def test_whoever_tells_of_a_failure_has_the_upstreams_code(templates: Any) -> None:
    given = {one["inputs"]["code-job"] for one in said()["include"] if "code-job" in one.get("inputs", {})}
    whole = templates["model-pipeline"].filled(job_prefix="spam:", code_job="fetch")
    (notify,) = [one for one in whole["include"] if one["local"].endswith("/notify.yml")]

    assert given == {"fetch"}
    assert notify["inputs"]["variables-of"][0] == "spam:fetch"


def test_deployments_of_repositories_do_not_meet() -> None:
    """Two repositories may have models of one name; here they share a project."""
    (include, *_) = [one for one in said()["include"] if "model-path" in one["inputs"]]
    deploy = Template(paths.checkout() / "ci-templates" / "deploy.yml")

    filled = deploy.filled(model="spam", model_path=include["inputs"]["model-path"])["deploy"]

    assert filled["resource_group"] == filled["environment"]["name"] == "prod/models/spam/spam"


def test_the_models_audience_is_not_the_platforms() -> None:
    audiences = {
        one["inputs"]["aws-audience"] for one in said()["include"] if "model-path" in one.get("inputs", {})
    }

    assert audiences == {"$CI_SERVER_URL/downstream"}
    assert "aws-audience" not in (paths.checkout() / ".gitlab-ci.yml").read_text().split("model-path")[0]
    terraform = Template(paths.checkout() / "ci-templates" / "terraform.yml")
    assert terraform.inputs["aws-audience"]["default"] == "$CI_SERVER_URL"


@pytest.mark.parametrize("name", ["lint", "test", "fetch", "answer"])
def test_jobs_with_the_upstreams_code_or_token_cannot_reach_aws(name: str) -> None:
    template = Template(paths.checkout() / "ci-templates" / f"{name}.yml")

    for job in template.filled(project_id="7", project_path="a/b", commit=COMMIT).values():
        assert "id_tokens" not in job
        # The token is a variable of this environment, which jobs that run the upstream's code are not in.
        assert ("environment" in job) is (name in ("fetch", "answer"))


def test_the_token_is_where_it_is_needed(templates: Any) -> None:
    holders = {
        name: job["environment"]["name"]
        for template in ("fetch", "answer")
        for name, job in templates[template].filled().items()
    }

    assert holders == {"fetch": "upstream", "answer": "upstream", "answer-failure": "upstream"}
    assert all(
        job["environment"]["action"]
        == "access"  # no deployment: https://docs.gitlab.com/ci/yaml/#environmentaction
        for template in ("fetch", "answer")
        for job in templates[template].filled().values()
    )


def test_an_upstream_chooses_no_role_image_or_audience() -> None:
    assert not [name for name in FILE.inputs if re.search("role|audience|token|docker|services|tier", name)]
    # https://docs.gitlab.com/ci/inputs/#for-a-pipeline
    assert len(FILE.inputs) <= 20
    assert all("default" in spec for spec in FILE.inputs.values())
    assert all("regex" in spec for spec in FILE.inputs.values() if spec.get("type") != "boolean")
    given = [one for one in said()["include"] if "model-path" in one.get("inputs", {})]
    for include in given:
        chosen = {name for name in include["inputs"] if re.search("role|image|audience", name)}
        assert chosen == {"python-image", "aws-audience"}


HOSTILE = ("; id", "$(id)", "`id`", "a b", "'x'", '"x"', "a\nb", "../x", "$X")


@pytest.mark.parametrize("name", sorted(name for name in FILE.inputs if name != "train-on-merge-request"))
def test_an_inputs_pattern_keeps_the_shells_own_characters_out(name: str) -> None:
    pattern = re.compile(FILE.inputs[name]["regex"])
    spaces = {"lint-paths", "test-arguments"}
    allowed = {"a b", "../x"} if name in spaces else set()

    assert {text for text in HOSTILE if pattern.search(text)} <= allowed


def test_the_trigger_says_what_this_pipeline_takes(templates: Any) -> None:
    template = templates["downstream"]
    trigger = template.filled()[".mlops-trigger"]["trigger"]

    assert set(trigger["inputs"]) | {"model"} <= set(FILE.inputs)
    assert trigger["strategy"] == "mirror"
    # No secret can travel: no variable does.
    assert trigger["forward"] == {"yaml_variables": False, "pipeline_variables": False}
    assert template.filled()[".mlops-trigger"]["inherit"] == {"variables": False}
    for name, value in trigger["inputs"].items():
        spec = FILE.inputs[name]
        if "regex" in spec and not str(value).startswith("$CI_"):
            assert re.search(spec["regex"], str(value)), name
    for name in ("manifest", "environment", "python-image", "requirements", "lint-paths", "test-arguments"):
        assert FILE.inputs[name]["regex"] == template.inputs[name]["regex"], name
        assert FILE.inputs[name]["default"] == template.inputs[name]["default"], name


def test_what_gitlab_knows_early_is_filled_in_early() -> None:
    """GitLab hands inputs of triggers on as they stand: each of these would be the downstream's own."""
    text = (paths.checkout() / "ci-templates" / "downstream.yml").read_text(encoding="utf-8")

    for name in [
        name for name in FILE.inputs if name.startswith("upstream-") and name != "upstream-pipeline-id"
    ]:
        assert f"{name}: $[[ inputs.{name} | expand_vars ]]" in text


@pytest.mark.parametrize(
    ("trigger", "variables", "runs"),
    [
        (PipelineTrigger(), {}, True),
        (PipelineTrigger(ref="topic"), {}, True),
        (PipelineTrigger(ref="topic"), {"CI_OPEN_MERGE_REQUESTS": "models/spam!42"}, False),
        (PipelineTrigger(kind="merge_request", ref="topic", merge_request=42), {}, True),
        (PipelineTrigger(kind="tag", ref="v1"), {}, False),
        (PipelineTrigger(kind="schedule"), {}, False),
    ],
)
def test_when_a_repository_makes_its_code(
    planner: Any, trigger: PipelineTrigger, variables: dict[str, str], runs: bool
) -> None:
    include = {"local": "/ci-templates/downstream.yml"}

    jobs = planner({"include": [include], "own": {"script": ["true"]}}, trigger, **variables)

    assert ("code" in jobs) is runs
