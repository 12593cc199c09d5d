"""Pipeline schedules and their owners, as python-gitlab uses them.

https://docs.gitlab.com/api/pipeline_schedules/, /api/users/, /api/user_moderation/
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gitlab
import pytest
from gitlab.exceptions import (
    GitlabAuthenticationError,
    GitlabCreateError,
    GitlabGetError,
    GitlabUpdateError,
)

from mlops_local.gitlab.cron import next_run
from mlops_local.gitlab.projects import create_project
from mlops_local.stack.stack import Stack

PATH = "models/wine"
BODY = {"description": "Retrain", "ref": "main", "cron": "0 4 * * *"}
KEYS = {
    "id", "description", "ref", "cron", "cron_timezone", "next_run_at", "active", "created_at", "updated_at",
    "owner", "inputs",
}  # fmt: skip
OWNER_KEYS = {"id", "username", "name", "state", "locked", "avatar_url", "web_url"}


@pytest.fixture
def wine(stack: Stack, repository: Path, git: Any) -> Stack:
    create_project(stack.folder / "gitlab", PATH)
    git(repository, "push", "--quiet", f"{stack.gitlab_url}/{PATH}.git", "main")
    return stack


def of(stack: Stack, user: str = "ada") -> Any:
    return gitlab.Gitlab(stack.gitlab_url, private_token=f"local-user-{user}")


def schedules(stack: Stack, user: str = "ada") -> Any:
    return of(stack, user).projects.get(PATH, lazy=True).pipelineschedules


def test_a_schedule_is_made_listed_and_changed_by_its_owner(wine: Stack) -> None:
    made = schedules(wine).create(BODY)

    assert set(made.attributes) - {"project_id", "last_pipeline", "variables"} == KEYS
    assert set(made.owner) == OWNER_KEYS
    assert (made.ref, made.cron_timezone, made.active) == ("refs/heads/main", "UTC", True)
    assert made.next_run_at.endswith("T04:00:00.000Z")
    made.active = False
    made.save()
    (listed,) = schedules(wine).list(get_all=True)
    assert set(listed.attributes) - {"project_id"} == KEYS
    assert listed.active is False
    assert (len(schedules(wine).list(scope="active")), len(schedules(wine).list(scope="inactive"))) == (0, 1)


def test_only_the_owner_edits_and_ownership_is_taken(wine: Stack) -> None:
    number = schedules(wine).create(BODY).id
    with pytest.raises(GitlabUpdateError) as caught:
        schedules(wine, "bob").update(number, {"cron": "0 5 * * *"})
    assert caught.value.response_code == 403

    theirs = schedules(wine, "bob").get(number)
    theirs.take_ownership()

    assert theirs.owner["username"] == "bob"
    schedules(wine, "bob").update(number, {"cron": "0 5 * * *"})
    with pytest.raises(GitlabUpdateError):
        schedules(wine).update(number, {"active": False})


def test_the_schedules_of_who_is_blocked_are_switched_off(wine: Stack) -> None:
    made = schedules(wine).create(BODY)
    admin = of(wine, "root")
    (ada,) = admin.users.list(username="ada")

    assert ada.block() is True

    found = schedules(wine, "root").get(made.id)
    assert (found.active, found.owner["state"]) == (False, "blocked")
    with pytest.raises(GitlabGetError, match="account has been blocked") as caught:
        schedules(wine).get(made.id)
    assert caught.value.response_code == 403
    assert admin.users.get(ada.id).unblock() is True
    assert schedules(wine).get(made.id).active is False


def test_a_schedule_is_played_by_who_asks_and_deleted(wine: Stack) -> None:
    made = schedules(wine).create(BODY)

    assert schedules(wine, "bob").get(made.id).play() == {"message": "201 Created"}

    last = schedules(wine).get(made.id).last_pipeline
    pipeline = of(wine).projects.get(PATH).pipelines.get(last["id"])
    assert (pipeline.source, pipeline.ref, pipeline.status) == ("schedule", "main", "created")
    assert [one.id for one in made.pipelines.list()] == [pipeline.id]
    made.delete()
    with pytest.raises(GitlabGetError, match="404 Pipeline Schedule Not Found"):
        schedules(wine).get(made.id)


def test_variables_and_inputs_of_a_schedule(wine: Stack) -> None:
    made = schedules(wine).create({**BODY, "inputs": [{"name": "model", "value": "wine"}]})
    made.variables.create({"key": "MODEL", "value": "wine"})
    made.variables.update("MODEL", {"value": "houses"})

    found = schedules(wine).get(made.id)
    assert found.inputs == [{"name": "model", "value": "wine"}]
    assert [(one["key"], one["value"]) for one in found.attributes["variables"]] == [("MODEL", "houses")]
    made.variables.delete("MODEL")
    made.inputs = [{"name": "model", "destroy": True}]
    made.save()
    assert schedules(wine).get(made.id).inputs == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cron": ""}, "cron is missing"),
        ({"description": ""}, "description is missing"),
        ({"cron": "61 4 * * *"}, "syntax is invalid"),
        ({"cron": "daily"}, "syntax is invalid"),
        ({"cron_timezone": "Mars/Olympus"}, "syntax is invalid"),
    ],
)
def test_a_schedule_that_cannot_be(wine: Stack, change: dict[str, str], message: str) -> None:
    with pytest.raises(GitlabCreateError, match=message) as caught:
        schedules(wine).create({**BODY, **change})
    assert caught.value.response_code == 400


def test_a_project_has_ten_at_most(wine: Stack) -> None:
    for _ in range(10):
        schedules(wine).create(BODY)
    with pytest.raises(GitlabCreateError, match="Maximum number of pipeline schedules"):
        schedules(wine).create(BODY)


def test_a_job_token_knows_no_schedules(wine: Stack) -> None:
    api = gitlab.Gitlab(wine.gitlab_url, job_token="x")
    with pytest.raises(GitlabAuthenticationError):
        api.projects.get(PATH, lazy=True).pipelineschedules.list()


def test_people_and_projects_tokens_are_somebody(wine: Stack) -> None:
    for token, name, bot in (
        ("local-project-token", "project_bot", True),
        ("local-user-ada", "ada", False),
        ("any", "local", False),
    ):
        api = gitlab.Gitlab(wine.gitlab_url, private_token=token)
        api.auth()
        assert api.user is not None
        assert (api.user.username, api.user.bot) == (name, bot)
    with pytest.raises(GitlabGetError):
        of(wine).users.get(99)


@pytest.mark.parametrize(
    ("line", "zone", "expected"),
    [
        ("0 4 * * *", "UTC", "2026-01-02T04:00"),
        ("*/15 10-12 * * *", "UTC", "2026-01-01T12:15"),
        ("30 6 * * mon-fri", "Europe/Berlin", "2026-01-02T05:30"),
        ("0 0 1 feb *", "UTC", "2026-02-01T00:00"),
        ("0 0 13 * 5", "UTC", "2026-01-02T00:00"),
        ("0 0 * * 7", "UTC", "2026-01-04T00:00"),
        ("0 0 30 2 *", "UTC", None),
        ("0 0 * *", "UTC", None),
    ],
)
def test_the_next_time_of_a_line(line: str, zone: str, expected: str | None) -> None:
    found = next_run(line, zone, datetime(2026, 1, 1, 12, 0, tzinfo=UTC))
    assert (found and found.isoformat(timespec="minutes").removesuffix("+00:00")) == expected
