"""The shape of what EventBridge and our schedules send: checked here, because it comes from outside.

An event has the members of https://docs.aws.amazon.com/eventbridge/latest/ref/events-structure.html; a
schedule sends what terraform/modules/events gives it to say: {"event", "project", "model", "time"}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlops.base.errors import ContractError
from mlops.contracts.runs import UNSTORABLE, is_to_come

SCHEDULE = "ml-ops.schedule"
"""The source we give to what our own schedules send."""

# As versions.NAME and versions.NAME_BUDGET, which need more than the standard library.
NAME = r"[a-z0-9]+(?:-[a-z0-9]+)*"
_NAMES_LIMIT = 29
_YEARS = range(2000, 3000)


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event, checked as far as all kinds are alike."""

    id: str
    source: str
    detail_type: str
    time: datetime
    region: str
    detail: Mapping[str, Any]


def is_event(document: object) -> bool:
    """Whether this comes from EventBridge or one of our schedules, and is not a run request."""
    if not isinstance(document, Mapping) or "action" in document:
        return False
    return "detail-type" in document or "event" in document


def parse(document: Mapping[str, Any]) -> Event:
    """The event in what the Lambda was given.

    Raises:
        ContractError: when it has not the shape that EventBridge or our schedules give it.
    """
    if "event" in document:  # what terraform/modules/events gives its schedules to say
        return Event(
            id=f"{text(document, 'event')}/{text(document, 'time')}",
            source=SCHEDULE,
            detail_type=text(document, "event"),
            time=_time(document.get("time")),
            region="",
            detail={"project": document.get("project"), "model": document.get("model")},
        )
    detail = document.get("detail")
    if not isinstance(detail, Mapping):
        raise ContractError("event.detail must be an object", cause=f"found {type(detail).__name__}")
    return Event(
        id=text(document, "id"),
        source=text(document, "source"),
        detail_type=text(document, "detail-type"),
        time=_time(document.get("time")),
        region=str(document.get("region", "")),
        detail=detail,
    )


def owner(detail: Mapping[str, Any], named: re.Match[str] | None) -> tuple[str, str] | None:
    """Project and model, by the tags of a resource or else by its name; None for what is not the platform's.

    Raises:
        ContractError: for tags that no model can have.
    """
    tags = detail.get("Tags")
    if isinstance(tags, Mapping) and "mlops:project" in tags and "mlops:model" in tags:
        return names({"project": tags["mlops:project"], "model": tags["mlops:model"]})
    return named_by(named)


def named_by(match: re.Match[str] | None) -> tuple[str, str] | None:
    """Project and model in a name; None where they are too long together to be a model's."""
    if match is None or len(match["project"]) + len(match["model"]) > _NAMES_LIMIT:
        return None
    return match["project"], match["model"]


def names(found: Mapping[str, Any]) -> tuple[str, str]:
    """Project and model, when they are names that a model of the platform can have.

    Raises:
        ContractError: saying which is not.
    """
    project, model = found.get("project"), found.get("model")
    for kind, name in (("project", project), ("model", model)):
        if not isinstance(name, str) or not re.fullmatch(NAME, name):
            raise ContractError(
                f"the event's {kind} is not a name of one", cause=f"found {str(name)[:_NAMES_LIMIT]!r}"
            )
    if len(f"{project}{model}") > _NAMES_LIMIT:
        raise ContractError(
            f"the event's project and model have more than {_NAMES_LIMIT} characters together"
        )
    return str(project), str(model)


def text(document: Mapping[str, Any], key: str) -> str:
    """A member that must be there.

    Raises:
        ContractError: when it is not, or no text.
    """
    value = document.get(key)
    if not isinstance(value, str) or not value or UNSTORABLE.search(value):
        raise ContractError(f"the event's '{key}' must be a text", cause=f"found {type(value).__name__}")
    return value


def _time(value: object) -> datetime:
    """SageMaker sends milliseconds at times, everyone else ISO 8601. Nothing happens in the future."""
    try:
        if isinstance(value, str):
            found = (
                datetime.fromtimestamp(int(value) / 1000, UTC).replace(microsecond=0)
                if value.isdecimal()
                else datetime.fromisoformat(value)
            )
            found = (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
            if found.year in _YEARS and not is_to_come(found):  # with room for the windows around it
                return found
    except (ValueError, OverflowError, OSError):
        pass
    raise ContractError("the event's 'time' is none", cause=f"found {str(value)[:40]!r}")


def iso(time: datetime) -> str:
    """As it travels."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def plain(state: str) -> str:
    """One spelling of states: an endpoint is IN_SERVICE in events and InService everywhere else."""
    return state.replace("_", "").lower()
