"""`mlops schedule ensure`: a pipeline schedule that retrains a repository's models, made and kept right."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mlops.base import console
from mlops.base.errors import SettingsError
from mlops.base.result import Outcome
from mlops.base.strict_json import encode
from mlops.clients.gitlab.schedules import BRANCH, Schedule

TOKEN = "MLOPS_GITLAB_TOKEN"  # noqa: S105  # the variable's name
# What a schedule is for: the job retrain leaves schedules alone that are for something else.
VARIABLE, PURPOSE = "MLOPS_SCHEDULE", "retrain"
# The users behind access tokens of projects and groups, as GitLab names them.
_BOT = re.compile(r"(project|group)_\d+_bot(_[0-9a-f]+|\d+)?")


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the schedule is to be; empty if it stays as it is, or gets a default when it is made."""

    description: str
    cron: str = ""
    timezone: str = ""
    ref: str = ""
    take_ownership: bool = False


class ProjectSchedules(Protocol):
    """What is needed of `clients.gitlab.schedules.Schedules`."""

    def who(self) -> str: ...

    def project(self) -> tuple[int, str]: ...

    def all(self) -> list[Schedule]: ...

    def create(self, wanted: Mapping[str, Any]) -> Schedule: ...

    def take(self, number: int) -> None: ...

    def change(self, number: int, changes: Mapping[str, Any]) -> None: ...

    def set_variable(self, number: int, key: str, value: str, *, new: bool) -> None: ...

    def get(self, number: int) -> Schedule: ...


def run(arguments: argparse.Namespace) -> Outcome:
    """Make the schedule, or put it right.

    Raises:
        SettingsError: without a token, a GitLab or a project.
        GitLabError: when GitLab refuses.
    """
    from mlops.clients.gitlab import schedules as gitlab_schedules

    token = os.environ.get(TOKEN, "")
    url = arguments.url or os.environ.get("CI_SERVER_URL", "")
    project = arguments.project or os.environ.get("CI_PROJECT_ID", "")
    if not token:
        raise SettingsError(
            f"{TOKEN} is not set",
            cause="a job's own token may not see or make pipeline schedules",
            next_step="Create an access token of the project with the scope api and the role Maintainer, "
            f"and set it as {TOKEN}.",
            link="https://docs.gitlab.com/user/project/settings/project_access_tokens/",
        )
    for name, value, option in (("GitLab", url, "--url"), ("project", project, "--project")):
        if not value:
            raise SettingsError(
                f"The {name} is not given",
                cause="outside a pipeline no variable says so",
                next_step=f"Give {option}.",
            )
    wish = Wish(
        description=arguments.description,
        cron=arguments.cron,
        timezone=arguments.timezone,
        ref=arguments.ref.removeprefix(BRANCH),
        take_ownership=arguments.take_ownership,
    )
    return ensure(gitlab_schedules.connect(url, project, token), wish)


def ensure(schedules: ProjectSchedules, wish: Wish) -> Outcome:
    """Make the schedule where there is none, else repair what is wrong with it; twice is as good as once.

    Raises:
        GitLabError: when GitLab refuses.
    """
    number, default_branch = schedules.project()
    ours = [one for one in schedules.all() if _is_ours(one, wish)]
    done: list[str] = []
    if ours:
        # Of several the one that runs by itself, and of those the oldest.
        kept = min(ours, key=lambda one: (one.orphaned, not one.active, one.id))
        _repair(schedules, kept, _changes(kept, wish, default_branch), wish, done)
    else:
        wanted = {
            "description": wish.description,
            "ref": wish.ref or default_branch,
            "cron": wish.cron or spread(number),
            "cron_timezone": wish.timezone or "UTC",
            "active": True,
        }
        kept = schedules.create(wanted)
        schedules.set_variable(kept.id, VARIABLE, PURPOSE, new=True)
        done.append("made")
    return _outcome(schedules.get(kept.id), done, [one for one in ours if one.id != kept.id], default_branch)


def spread(project: int) -> str:
    """Daily, in the small hours: a minute of the project's own, so that not all of them start at once."""
    return f"{project % 60} {1 + project // 60 % 5} * * *"


def _is_ours(one: Schedule, wish: Wish) -> bool:
    purpose = one.variables.get(VARIABLE)
    return purpose == PURPOSE or (purpose is None and one.description == wish.description)


def _changes(kept: Schedule, wish: Wish, default_branch: str) -> dict[str, Any]:
    wanted = {
        "description": wish.description,
        "ref": wish.ref or default_branch,
        "cron": wish.cron or kept.cron,
        "cron_timezone": wish.timezone or kept.timezone,
        "active": True,
    }
    found = {
        "description": kept.description,
        "ref": kept.ref,
        "cron": kept.cron,
        "cron_timezone": kept.timezone,
        "active": kept.active,
    }
    return {key: value for key, value in wanted.items() if found[key] != value}


def _repair(
    schedules: ProjectSchedules, kept: Schedule, changes: dict[str, Any], wish: Wish, done: list[str]
) -> None:
    missing = kept.variables.get(VARIABLE) != PURPOSE
    if kept.orphaned or wish.take_ownership or changes or missing:
        me = schedules.who()
        if kept.owner != me:  # GitLab refuses who owns it already, and changes by anybody else
            schedules.take(kept.id)
            whom = f"{kept.owner}, who is {kept.owner_state}" if kept.owner else "a user who is gone"
            done.append(f"taken over from {whom}")
    if changes:
        schedules.change(kept.id, changes)
        done += [f"{key} set to {value}" for key, value in changes.items()]
    if missing:
        schedules.set_variable(kept.id, VARIABLE, PURPOSE, new=VARIABLE not in kept.variables)
        done.append(f"{VARIABLE} set")


def _outcome(now: Schedule, done: list[str], others: list[Schedule], default_branch: str) -> Outcome:
    lines = [
        f"The schedule {now.id} '{now.description}' {'is as it should be' if not done else ', '.join(done)}",
        f"  owner: {now.owner} ({now.owner_state})",
        f"  runs: {now.cron} {now.timezone} on {now.ref}, next {now.next_run_at or 'never'}",
    ]
    if _BOT.fullmatch(now.owner):
        console.warn(f"{now.owner} is the user of an access token: the schedule ends with it")
    if now.ref != default_branch:
        console.warn(f"retraining runs on {default_branch} only, and this schedule is for {now.ref}")
    for other in others:
        console.warn(
            f"the schedule {other.id} '{other.description}' of {other.owner or 'nobody'} does the same"
            f"{'' if other.active else ', were it active'}"
        )
    return Outcome(
        summary="\n".join(lines),
        data={
            "schedule": encode(now),
            "done": done,
            "duplicates": [encode(one) for one in others],
        },
        next_steps=tuple(
            f"Delete the schedule {other.id} in Build > Pipeline schedules." for other in others
        ),
    )
