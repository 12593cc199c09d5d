"""The two jobs that plan and apply an environment: when they run, as whom, and what travels between."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from mlops_local.pipelines.variables import PipelineTrigger

MERGE_REQUEST = PipelineTrigger(kind="merge_request", ref="topic", merge_request=42)
PLAN, APPLY = "terraform-plan:dev", "terraform-apply:dev"


def pipeline(*environments: dict[str, Any]) -> dict[str, Any]:
    includes = [{"local": "/ci-templates/terraform.yml", "inputs": inputs} for inputs in environments]
    return {"stages": ["check", "plan", "apply"], "include": includes}


TABLE = [
    ("push to the default branch", PipelineTrigger(), {}, {PLAN: "on_success", APPLY: "manual"}),
    (
        "started by a person",
        PipelineTrigger(),
        {"CI_PIPELINE_SOURCE": "web"},
        {PLAN: "on_success", APPLY: "manual"},
    ),
    ("merge request", MERGE_REQUEST, {}, {PLAN: "on_success"}),
    ("another branch", PipelineTrigger(ref="topic"), {}, {}),
    ("tag", PipelineTrigger(kind="tag", ref="1.2.3"), {}, {}),
    ("schedule", PipelineTrigger(kind="schedule"), {}, {}),
]


@pytest.mark.parametrize(
    ("trigger", "variables", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_when_which_job_runs(
    planner: Any, trigger: PipelineTrigger, variables: dict[str, str], expected: dict[str, str]
) -> None:
    check = {"lint": {"stage": "check", "script": ["true"]}}
    jobs = planner({**pipeline({"environment": "dev"}), **check}, trigger, **variables)

    assert {name: job.when for name, job in jobs.items() if name != "lint"} == expected


def test_an_environment_may_be_applied_by_itself(planner: Any) -> None:
    jobs = planner(pipeline({"environment": "dev", "when": "on_success"}))

    assert jobs[APPLY].when == "on_success"
    assert not jobs[APPLY].tolerates(1)


def test_the_pipeline_is_green_without_a_click_but_never_with_a_failed_plan(planner: Any) -> None:
    jobs = planner(pipeline({"environment": "dev"}))

    assert jobs[APPLY].tolerates(1)
    assert not jobs[PLAN].tolerates(1)


def test_environments_are_applied_in_order(planner: Any) -> None:
    prod = {"environment": "prod", "after": "dev"}
    jobs = planner(pipeline({"environment": "dev", "when": "on_success"}, prod))

    assert jobs["terraform-apply:prod"].needs == ("terraform-plan:prod", "terraform-apply:dev")


def test_what_comes_first_may_be_missing(templates: Any) -> None:
    _, before = templates["terraform"].filled(environment="dev")[APPLY]["needs"]

    assert before == {"job": "terraform-apply:", "artifacts": True, "optional": True}


def test_a_plan_waits_for_the_stages_before(templates: Any) -> None:
    plan = templates["terraform"].filled(environment="dev")[PLAN]

    assert "needs" not in plan
    assert plan["dependencies"] == []


def test_what_was_reviewed_travels_to_the_apply(templates: Any) -> None:
    jobs = templates["terraform"].filled(environment="dev")
    plan, apply = jobs[PLAN]["artifacts"], jobs[APPLY]

    assert plan["paths"] == ["terraform-plan/dev/"]
    assert plan["reports"] == {"terraform": "terraform-plan/dev/plan.json"}
    assert plan["when"] == "always" and plan["expose_as"]
    # Not for guests of a public project: a plan file holds values.
    assert plan["access"] == apply["artifacts"]["access"] == "developer"
    assert apply["needs"][0] == {"job": PLAN, "artifacts": True}


def test_nothing_stops_or_repeats_a_change_half_way(templates: Any) -> None:
    jobs = templates["terraform"].filled(environment="dev")

    assert jobs[APPLY]["retry"] == 0
    assert not jobs[APPLY]["interruptible"] and not jobs[PLAN]["interruptible"]
    assert jobs[APPLY]["resource_group"] == jobs[PLAN]["resource_group"] == "terraform/dev"
    assert not any("after_script" in job for job in jobs.values())


def test_gitlab_lists_the_environment(templates: Any) -> None:
    jobs = templates["terraform"].filled(environment="prod", deployment_tier="production")

    assert jobs["terraform-apply:prod"]["environment"] == {"name": "prod", "deployment_tier": "production"}
    # A protected environment would keep merge requests from planning.
    assert "environment" not in jobs["terraform-plan:prod"]


def test_each_job_takes_its_own_role_as_all_jobs_do(templates: Any) -> None:
    filled = templates["terraform"].filled(environment="dev", plan_role_arn="$PLAN", apply_role_arn="$APPLY")

    assert filled[PLAN]["variables"]["MLOPS_AWS_ROLE_ARN"] == "$PLAN"
    assert filled[APPLY]["variables"]["MLOPS_AWS_ROLE_ARN"] == "$APPLY"
    for job in filled.values():
        assert job["id_tokens"] == {"MLOPS_ID_TOKEN": {"aud": "$CI_SERVER_URL"}}
        assert "before_script" not in job
        assert job["inherit"] == {"default": ["tags"]}


@pytest.mark.parametrize("action", ["plan", "apply"])
def test_the_script_is_a_command_that_mlops_knows(templates: Any, action: str) -> None:
    from mlops.cli import build_parser

    job = templates["terraform"].filled(environment="dev", directory="platform/tf")[f"terraform-{action}:dev"]
    (line,) = [line for line in job["script"] if line.startswith("mlops ")]
    program, *words = line.split()

    arguments = build_parser("terraform").parse_args(words)

    assert program == "mlops"
    assert (arguments.action, arguments.environment, arguments.directory) == (action, "dev", "platform/tf")


@pytest.mark.parametrize(
    ("before", "works", "runs"),
    [("applied", True, True), ("terraform.log", True, False), ("applied", False, True), (None, True, False)],
    ids=["succeeded", "failed", "succeeded, and this one fails", "never ran"],
)
def test_an_apply_after_one_that_failed_does_nothing(
    templates: Any, tmp_path: Path, before: str | None, works: bool, runs: bool
) -> None:
    """A job by hand may fail, so GitLab itself would let the next environment's job start."""
    apply = templates["terraform"].filled(environment="prod", after="stage")["terraform-apply:prod"]
    for name, folder in ((before, "stage"), ("plan.json", "prod")):
        if name:
            (tmp_path / "terraform-plan" / folder).mkdir(parents=True)
            (tmp_path / "terraform-plan" / folder / name).touch()
    (tmp_path / "mlops").write_text(f"#!/bin/sh\ntouch called\nexit {0 if works else 60}\n")
    (tmp_path / "mlops").chmod(0o755)

    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", "\n".join(apply["script"])],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (tmp_path / "called").exists() is runs
    assert (done.returncode == 0) is (runs and works)
    # What the next environment looks for, and what travels to it.
    assert (tmp_path / "terraform-plan" / "prod" / "applied").exists() is (runs and works)
    assert "terraform-plan/prod/applied" in apply["artifacts"]["paths"]
    assert runs or "terraform-apply:stage has not succeeded" in done.stderr
