"""What a trigger job hands over, and how it goes on, by GitLab's rules."""

from __future__ import annotations

from typing import Any

import pytest

from mlops_local.gitlab.durations import duration
from mlops_local.gitlab.pipelines import Status
from mlops_local.pipelines.trigger_jobs import (
    TriggerJob,
    expand,
    mark_functions,
    matrix_of,
    of_job,
    request,
    state,
)

SETTINGS = {"CI_PROJECT_PATH": "models/wine", "CI_COMMIT_TAG": "", "CI_PIPELINE_ID": "7", "CI_JOB_ID": "7001"}


def ask(dotenv: dict[str, str] | None = None, **trigger: Any) -> Any:
    return request(TriggerJob(**{"project": "a/b", **trigger}), SETTINGS, dotenv or {}, {})


def test_inputs_go_as_they_stand() -> None:
    inputs = {"model": "$MODEL", "number": 3, "list": ["$CI_PROJECT_PATH"]}
    asked = ask(inputs=inputs, variables={"MODEL": "wine"})

    assert asked.inputs == inputs
    assert asked.variables == {"MODEL": "wine"}


def test_what_a_template_expands_is_known_before_there_is_a_pipeline() -> None:
    template = (
        "go:\n  trigger:\n    inputs:\n      path: $[[ inputs.path | expand_vars ]]\n"
        "  script:\n    - echo $[[ inputs.path | expand_vars ]]\n"
    )
    marked = mark_functions(template)
    assert marked.count("expand_vars>") == 2
    assert "echo $[[ inputs.path | expand_vars ]]" in marked

    value = "<expand_vars>$CI_PROJECT_PATH $CI_COMMIT_TAG $CI_PIPELINE_ID ${OTHER}</expand_vars>"
    asked = ask(inputs={"path": value}, variables={"OTHER": "of the job"})
    assert asked.inputs == {"path": "models/wine $CI_COMMIT_TAG $CI_PIPELINE_ID ${OTHER}"}


def test_variables_are_expanded_without_what_a_running_job_has() -> None:
    variables = {
        "WHERE": "$CI_PROJECT_PATH/${MODEL}",
        "MODEL": "wine",
        "PIPELINE": "$CI_PIPELINE_ID",
        "RUNNING": "$CI_JOB_ID",
        "CODE": "$CODE_JOB_ID",
        "SELF": "$SELF",
        "PRICE": "$$5",
    }
    assert ask(variables=variables, dotenv={"CODE_JOB_ID": "7002"}).variables == {
        "WHERE": "models/wine/wine",
        "MODEL": "wine",
        "PIPELINE": "7",
        "RUNNING": "$CI_JOB_ID",
        "CODE": "7002",
        "SELF": "$SELF",
        "PRICE": "$$5",
    }


@pytest.mark.parametrize(
    ("yaml", "passed", "names"),
    [
        (True, False, {"OWN"}),
        (False, False, set()),
        (False, True, {"DOTENV", "GIVEN"}),
        (True, True, {"OWN", "DOTENV", "GIVEN"}),
    ],
)
def test_what_is_forwarded(yaml: bool, passed: bool, names: set[str]) -> None:
    job = TriggerJob(project="a/b", variables={"OWN": "x"}, forward_yaml=yaml, forward_pipeline=passed)
    assert set(request(job, SETTINGS, {"DOTENV": "x"}, {"GIVEN": "x"}).variables) == names


def test_project_and_branch_are_expanded() -> None:
    asked = ask(project="$GROUP/ml-ops", branch="$NOWHERE", variables={"GROUP": "platform"})
    assert (asked.project, asked.branch) == ("platform/ml-ops", "")


@pytest.mark.parametrize(
    ("document", "variables"),
    [
        ({"trigger": "a/b"}, {"GLOBAL": "g", "N": "true"}),
        ({"trigger": {"project": "a/b"}, "inherit": {"variables": False}}, {}),
        ({"trigger": {"project": "a/b"}, "inherit": {"variables": ["N"]}}, {"N": "true"}),
        ({"trigger": "a/b", "variables": {"N": {"value": 1}}}, {"GLOBAL": "g", "N": "1"}),
    ],
)
def test_the_variables_a_ci_file_gives_to_the_job(
    document: dict[str, Any], variables: dict[str, str]
) -> None:
    found = of_job(document, {"GLOBAL": "g", "N": True}, {})
    assert found is not None
    assert found.variables == variables


@pytest.mark.parametrize("document", [{"script": ["x"]}, {"trigger": {"include": "child.yml"}}])
def test_what_starts_nothing_in_another_project(document: dict[str, Any]) -> None:
    assert of_job(document, {}, {}) is None


def test_the_parallels_of_a_job() -> None:
    parallel = {"matrix": [{"MODEL": ["wine", "houses"], "SIZE": [1, True]}]}
    assert matrix_of("go: [wine,1]", "go", parallel) == {"MODEL": "wine", "SIZE": "1"}
    assert matrix_of("go: [houses, true]", "go", parallel) == {"MODEL": "houses", "SIZE": "true"}
    assert matrix_of("go: [beer, 1]", "go", parallel) is None
    assert matrix_of("go", "go", 3) is None


@pytest.mark.parametrize(
    ("pipeline", "mirror", "depend"),
    [
        ("success", "success", "success"),
        ("failed", "failed", "failed"),
        ("canceled", "canceled", "canceled"),
        ("skipped", "skipped", "failed"),
        ("manual", "manual", "running"),
    ],
)
def test_what_comes_back(pipeline: Status, mirror: str, depend: str) -> None:
    assert (state("mirror", pipeline), state("depend", pipeline)) == (mirror, depend)
    assert state("", pipeline) == "success"


def test_references() -> None:
    assert expand("$A ${A} $B $$A", {"A": "1"}) == "1 1 $B $$A"
    assert expand("$A/$B", {"A": "1"}, unknown="") == "1/"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("42", 42),
        ("30 mins", 1800),
        ("2h20min", 8400),
        ("3 days", 259200),
        ("1 week", 604800),
        ("6 mos 1 day", 15638400),
        ("1 week and 1 day", 691200),
        ("never", None),
        ("soon", None),
        ("", None),
    ],
)
def test_lengths_of_time(text: str, seconds: float | None) -> None:
    found = duration(text)
    assert (found and found.total_seconds()) == seconds
