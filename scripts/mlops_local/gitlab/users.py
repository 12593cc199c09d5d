"""The people of the local GitLab, and whose a token is: https://docs.gitlab.com/api/users/

Everybody exists once they are named: `local-user-NAME` is the personal token of NAME. Blocking somebody
switches the schedules they own off, as GitLab does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mlops.base.strict_json import decode, encode
from mlops_local.gitlab import records

Document = dict[str, Any]

# Nothing outside this machine knows them. A job's token ends in the job's number.
PROJECT_TOKEN = "local-project-token"  # noqa: S105
JOB_TOKEN = "local-job-token"  # noqa: S105
PERSONAL_TOKEN = "local-user-"  # noqa: S105  # what such a token begins with
_FILE = "users.json"


@dataclass(frozen=True, kw_only=True)
class User:
    """A person, or the user behind a project's access token."""

    id: int
    username: str
    state: Literal["active", "blocked"] = "active"
    bot: bool = False


LOCAL = User(id=1, username="local")


def find(home: Path, key: str) -> User | None:
    """The user of that name or number."""
    for user in listed(home):
        if key in (user.username, str(user.id)):
            return user
    return None


def listed(home: Path) -> list[User]:
    """All users, the oldest first."""
    known = records.read(home / _FILE)
    found = [decode(User, document, name) for name, document in known.items()]
    return found if LOCAL.username in known else [LOCAL, *found]


def ensure(home: Path, username: str, *, bot: bool = False) -> User:
    """The user of that name, made if there was none."""
    with records.edit(home / _FILE) as known:
        known.setdefault(LOCAL.username, encode(LOCAL))
        if username not in known:
            known[username] = encode(User(id=len(known) + 1, username=username, bot=bot))
        return decode(User, known[username], username)


def of_token(home: Path, token: str) -> User:
    """Who calls with a token: a project's token has a user of its own, and what we do not know is `local`."""
    if token == PROJECT_TOKEN:
        return ensure(home, "project_bot", bot=True)
    name = token.removeprefix(PERSONAL_TOKEN)
    return ensure(home, name) if name and name != token else find(home, LOCAL.username) or LOCAL


def set_state(home: Path, user: User, state: Literal["active", "blocked"]) -> None:
    """Block somebody, or let them in again."""
    ensure(home, user.username)
    with records.edit(home / _FILE) as known:
        known[user.username] = encode(replace(user, state=state))


def basic(user: User, url: str) -> Document:
    """A user as other documents mention them."""
    return {
        "id": user.id,
        "username": user.username,
        "name": user.username,
        "state": user.state,
        "locked": False,
        "avatar_url": None,
        "web_url": f"{url}/{user.username}",
    }


def document(user: User, url: str) -> Document:
    """GET /users/:id"""
    return {**basic(user, url), "bot": user.bot, "created_at": "2026-01-01T00:00:00.000Z"}
