"""`mlops schedule ensure` against the local GitLab, whose rules are those that GitLab documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gitlab
import pytest

from mlops.base.errors import GitLabError, SettingsError
from mlops.cli import main
from mlops_local.gitlab.projects import create_project
from mlops_local.stack.stack import Stack

PATH = "models/wine"
Ensure = Callable[..., Any]


def of(stack: Stack, user: str) -> Any:
    return gitlab.Gitlab(stack.gitlab_url, private_token=f"local-user-{user}").projects.get(PATH)


def schedules(stack: Stack) -> list[Any]:
    project = of(stack, "admin")
    return [project.pipelineschedules.get(one.id) for one in project.pipelineschedules.list(get_all=True)]


@pytest.fixture
def wine(stack: Stack, repository: Path, git: Any) -> Stack:
    create_project(stack.folder / "gitlab", PATH)
    git(repository, "push", "--quiet", f"{stack.gitlab_url}/{PATH}.git", "main")
    return stack


@pytest.fixture
def ensure(wine: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ensure:
    """Run the command as somebody; gives its JSON."""
    monkeypatch.setenv("CI_SERVER_URL", wine.gitlab_url)
    monkeypatch.setenv("CI_PROJECT_ID", str(of(wine, "admin").id))

    def run(user: str = "ada", *arguments: str) -> Any:
        monkeypatch.setenv("MLOPS_GITLAB_TOKEN", f"local-user-{user}")
        assert main(["schedule", "ensure", "--json", *arguments]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def test_the_schedule_is_made_once_and_then_left_alone(wine: Stack, ensure: Ensure) -> None:
    assert ensure()["done"] == ["made"]
    (made,) = schedules(wine)
    assert (made.ref, made.cron_timezone, made.active) == ("refs/heads/main", "UTC", True)
    assert made.owner["username"] == "ada"
    assert [(one["key"], one["value"]) for one in made.attributes["variables"]] == [
        ("MLOPS_SCHEDULE", "retrain")
    ]
    assert ensure()["done"] == ensure("ben")["done"] == []
    assert [one.attributes for one in schedules(wine)] == [made.attributes]


def test_what_is_asked_for_is_set_and_what_is_not_asked_for_stays(ensure: Ensure) -> None:
    ensure("ada", "--cron", "5 4 * * *", "--timezone", "Europe/Berlin")
    found = ensure("ada", "--cron", "6 4 * * 1")
    assert found["done"] == ["cron set to 6 4 * * 1"]
    assert found["schedule"]["timezone"] == "Europe/Berlin"
    assert ensure()["schedule"]["cron"] == "6 4 * * 1"


def test_a_branch_may_be_given_by_its_full_name(ensure: Ensure, capsys: pytest.CaptureFixture[str]) -> None:
    ensure("ada", "--ref", "refs/heads/main")
    assert ensure("ada", "--ref", "refs/heads/main")["done"] == []
    assert "retraining runs on" not in capsys.readouterr().err


def test_a_schedule_that_was_switched_off_is_switched_on_by_who_may(wine: Stack, ensure: Ensure) -> None:
    made = ensure()["schedule"]["id"]
    of(wine, "ada").pipelineschedules.update(made, {"active": False})
    found = ensure("ben")
    assert found["done"] == ["taken over from ada, who is active", "active set to True"]
    assert (found["schedule"]["owner"], found["schedule"]["active"]) == ("ben", True)
    assert found["schedule"]["id"] == made


def test_a_blocked_owner_is_replaced(wine: Stack, ensure: Ensure) -> None:
    ensure()
    api = gitlab.Gitlab(wine.gitlab_url, private_token="local-user-admin")
    (ada,) = api.users.list(username="ada", get_all=True)
    ada.block()
    assert schedules(wine)[0].active is False
    found = ensure("ben")
    assert found["done"] == ["taken over from ada, who is blocked", "active set to True"]
    assert (found["schedule"]["owner"], found["schedule"]["owner_state"]) == ("ben", "active")


def test_ownership_is_taken_from_an_active_owner_only_when_asked(ensure: Ensure) -> None:
    ensure()
    assert ensure("ben", "--take-ownership")["done"] == ["taken over from ada, who is active"]
    assert ensure("ben", "--take-ownership")["done"] == []


def test_a_schedule_somebody_made_by_hand_is_adopted(wine: Stack, ensure: Ensure) -> None:
    body = {"description": "Retrain models that are due", "ref": "main", "cron": "0 2 * * *"}
    by_hand = of(wine, "ada").pipelineschedules.create(body)
    found = ensure()
    assert (found["schedule"]["id"], found["done"]) == (by_hand.id, ["MLOPS_SCHEDULE set"])
    assert found["schedule"]["cron"] == "0 2 * * *"


def test_schedules_for_something_else_are_nobodys_business(wine: Stack, ensure: Ensure) -> None:
    body = {"description": "Nightly checks", "ref": "main", "cron": "0 2 * * *"}
    other = of(wine, "ada").pipelineschedules.create(body)
    ensure()
    ensure("ben", "--take-ownership")
    after = of(wine, "ada").pipelineschedules.get(other.id)
    assert (after.owner["username"], after.cron) == ("ada", "0 2 * * *")


def test_duplicates_are_named_and_left_to_people(
    wine: Stack, ensure: Ensure, capsys: pytest.CaptureFixture[str]
) -> None:
    first = ensure()["schedule"]["id"]
    body = {"description": "Old retraining", "ref": "main", "cron": "0 2 * * *"}
    double = of(wine, "ben").pipelineschedules.create(body)
    double.variables.create({"key": "MLOPS_SCHEDULE", "value": "retrain"})
    found = ensure()
    assert (found["schedule"]["id"], found["done"]) == (first, [])
    assert [one["id"] for one in found["duplicates"]] == [double.id]
    assert main(["schedule", "ensure"]) == 0
    said = capsys.readouterr()
    assert f"! the schedule {double.id} 'Old retraining' of ben does the same" in said.err
    assert "owner: ada (active)" in said.out
    assert len(schedules(wine)) == 2


def test_without_a_token_the_error_says_which_one_to_make(
    ensure: Ensure, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ensure()
    monkeypatch.delenv("MLOPS_GITLAB_TOKEN")
    assert main(["schedule", "ensure"]) == SettingsError.exit_code
    said = capsys.readouterr().err
    assert "MLOPS_GITLAB_TOKEN is not set" in said
    assert "scope api and the role Maintainer" in said


@pytest.mark.parametrize("variable", ["CI_SERVER_URL", "CI_PROJECT_ID"])
def test_outside_a_pipeline_the_project_has_to_be_named(
    ensure: Ensure, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    ensure()
    monkeypatch.delenv(variable)
    assert main(["schedule", "ensure"]) == SettingsError.exit_code


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["--cron", "every day"], "cron"),
        (["--project", "models/none"], "404"),
        (["--timezone", "Mars"], "400"),
    ],
)
def test_what_gitlab_refuses_is_said_in_its_words(
    ensure: Ensure, capsys: pytest.CaptureFixture[str], arguments: list[str], cause: str
) -> None:
    ensure()
    assert main(["schedule", "ensure", *arguments]) == GitLabError.exit_code
    said = capsys.readouterr().err
    assert cause in said
    assert "next:" in said
