"""GitLab's pipeline schedules: https://docs.gitlab.com/api/pipeline_schedules/

Only its owner may change a schedule, and it runs with the owner's rights: GitLab switches it off with an
owner who is blocked, and says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops.base.errors import GitLabError

if TYPE_CHECKING:
    from gitlab import Gitlab

_TIMEOUT = 15
BRANCH = "refs/heads/"
"""What GitLab puts before a branch's short name."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A pipeline schedule."""

    id: int
    description: str
    ref: str
    """A branch's short name, or the full one of anything else."""
    cron: str
    timezone: str
    active: bool
    owner: str
    """The user name; empty when the user was deleted."""
    owner_state: str
    """GitLab's word, such as `active` or `blocked`."""
    next_run_at: str
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def orphaned(self) -> bool:
        """Whether its owner is gone, so that it has no rights to run with."""
        return not self.owner or self.owner_state != "active"


class GitLabSchedules:
    """The schedules of one project. Every failure is a GitLabError; the token is in none of them."""

    def __init__(self, api: Gitlab, project: str) -> None:
        self._api = api
        self._name = project
        self._project = api.projects.get(project, lazy=True)

    def who(self) -> str:
        """The user name that the token acts as."""
        with _errors("say whose token this is"):
            self._api.auth()
        return str(self._api.user.username) if self._api.user else ""

    def project(self) -> tuple[int, str]:
        """The project's number, and its default branch."""
        with _errors("show the project"):
            found = self._api.projects.get(self._name)
        return int(found.id), str(found.default_branch)

    def all(self) -> list[Schedule]:
        """Every schedule, with its variables, the oldest first."""
        with _errors("list the pipeline schedules"):
            numbers = [one.id for one in self._project.pipelineschedules.list(iterator=True)]
            return [_schedule(self._project.pipelineschedules.get(number)) for number in sorted(numbers)]

    def create(self, wanted: Mapping[str, Any]) -> Schedule:
        """Make one, of `description`, `ref`, `cron`, `cron_timezone` and `active`."""
        with _errors("make a pipeline schedule"):
            return _schedule(self._project.pipelineschedules.create(dict(wanted)))

    def take(self, number: int) -> None:
        """Become its owner; GitLab refuses that to who is it already."""
        with _errors(f"hand the pipeline schedule {number} over"):
            self._project.pipelineschedules.get(number, lazy=True).take_ownership()

    def change(self, number: int, changes: Mapping[str, Any]) -> None:
        """Set some of what `create` sets."""
        with _errors(f"change the pipeline schedule {number}"):
            self._project.pipelineschedules.update(number, dict(changes))

    def set_variable(self, number: int, key: str, value: str, *, new: bool) -> None:
        """Give a variable of the schedule its value."""
        with _errors(f"set a variable of the pipeline schedule {number}"):
            variables = self._project.pipelineschedules.get(number, lazy=True).variables
            if new:
                variables.create({"key": key, "value": value})
            else:
                variables.update(key, {"value": value})

    def get(self, number: int) -> Schedule:
        """One schedule, as it is now."""
        with _errors(f"show the pipeline schedule {number}"):
            return _schedule(self._project.pipelineschedules.get(number))


def connect(url: str, project: str, token: str) -> GitLabSchedules:
    """The schedules of a project, which is named by its number or its path."""
    from gitlab import Gitlab

    return GitLabSchedules(Gitlab(url, private_token=token, timeout=_TIMEOUT, user_agent="ml-ops"), project)


def _schedule(found: Any) -> Schedule:
    owner = getattr(found, "owner", None) or {}
    return Schedule(
        id=found.id,
        description=found.description,
        ref=str(found.ref).removeprefix(BRANCH),
        cron=found.cron,
        timezone=found.cron_timezone,
        active=bool(found.active),
        owner=str(owner.get("username", "")),
        owner_state=str(owner.get("state", "")),
        next_run_at=str(found.next_run_at or ""),
        variables={one["key"]: str(one["value"]) for one in found.attributes.get("variables") or []},
    )


@contextmanager
def _errors(what: str) -> Iterator[None]:
    from gitlab.exceptions import GitlabAuthenticationError, GitlabError
    from requests.exceptions import RequestException

    try:
        yield
    except GitlabAuthenticationError as error:
        raise GitLabError(
            f"GitLab did not {what}",
            cause=f"{error.response_code}: {error.error_message}",
            next_step="Renew the token in MLOPS_GITLAB_TOKEN: with the scope api, and the role Maintainer.",
        ) from error
    except GitlabError as error:
        step = {
            400: "Correct the value that GitLab names; docs/guides/retraining.md shows examples.",
            403: "Give the token in MLOPS_GITLAB_TOKEN the scope api and the role Maintainer.",
            404: "Check the project, and give the token the scope api and the role Maintainer in it.",
        }.get(error.response_code or 0, "Try again; if it stays, look at GitLab's status.")
        raise GitLabError(
            f"GitLab did not {what}",
            cause=f"{error.response_code or 'no HTTP status'}: {error.error_message}"[:500],
            next_step=step,
        ) from error
    except RequestException as error:
        raise GitLabError(
            f"GitLab did not {what}", cause=str(error), next_step="Check that this machine reaches GitLab."
        ) from error
