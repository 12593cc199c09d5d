"""Named records of one kind: found, changed and listed as SageMaker does.

A record holds the members of the kind's Describe response.
"""

from __future__ import annotations

import base64
import binascii
import heapq
import itertools
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from mlops_local.base.config import LocalAwsConfig
from mlops_local.base.wire import ServiceError

Record = dict[str, Any]
Parameters = dict[str, Any]

# 10 and 100, as the API pages where MaxResults is left out, and at most.
DEFAULT_PAGE = 10
_TIMES = tuple(
    (member, f"{member}After", f"{member}Before") for member in ("CreationTime", "LastModifiedTime")
)


@dataclass(frozen=True, kw_only=True)
class ResourceKind:
    """How a resource is called."""

    prefix: str
    """Of its members: `TrainingJob` for TrainingJobName and TrainingJobArn."""
    arn: str
    """The first part of its ARN's resource: `training-job`."""
    status: str = ""
    """The member that holds its state, where it has one."""
    summaries: str
    """The member of the List response."""
    newest_first: bool = True
    """How List sorts where SortOrder is left out; the API reference says which."""

    @property
    def name(self) -> str:
        """The member that holds its name."""
        return f"{self.prefix}Name"


class Table:
    """All resources of one kind."""

    def __init__(self, config: LocalAwsConfig, kind: ResourceKind, tags: Tags) -> None:
        self.kind = kind
        self._config = config
        self._tags = tags
        self._records: dict[str, tuple[int, Record]] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self.changed: Callable[[Record, Record], None] = lambda _before, _after: None
        """Hears of each change of a record, and of a new one, which was empty before."""

    def arn(self, name: str) -> str:
        """The ARN a resource of that name has."""
        return self._config.arn("sagemaker", f"{self.kind.arn}/{name}")

    def add(self, name: str, record: Record, tags: list[dict[str, str]], taken: ServiceError) -> str:
        """Add a record and return its ARN.

        Raises:
            ServiceError: `taken`, when there is one of that name.
        """
        now = datetime.now(UTC)
        arn = self.arn(name)
        with self._lock:
            if name in self._records:
                raise taken
            own = {self.kind.name: name, f"{self.kind.prefix}Arn": arn, "CreationTime": now}
            made = {**record, **own, "LastModifiedTime": now}
            self._records[name] = (next(self._numbers), made)
        self._tags.put(arn, tags)
        self.changed({}, dict(made))
        return arn

    def keep(self) -> Any:
        """The records, for a snapshot of the account."""
        with self._lock:
            return {name: (number, dict(record)) for name, (number, record) in self._records.items()}

    def restore(self, kept: Any) -> None:
        """Have the records of a snapshot."""
        with self._lock:
            self._records = kept
            self._numbers = itertools.count(1 + max((number for number, _ in kept.values()), default=-1))

    def find(self, name: str) -> Record | None:
        """A copy of a record."""
        with self._lock:
            found = self._records.get(name)
            return dict(found[1]) if found else None

    def change(self, name: str, **members: Any) -> None:
        """Set members; None removes one. What is gone meanwhile stays gone."""
        self.change_if(name, lambda _: True, **members)

    def change_if(self, name: str, allowed: Callable[[Record], bool], **members: Any) -> bool:
        """Set members of a record that is as it should be; False when it is not."""
        with self._lock:
            found = self._records.get(name)
            if not found or not allowed(found[1]):
                return False
            before = dict(found[1])
            found[1].update(members, LastModifiedTime=datetime.now(UTC))
            after = dict(found[1])
        self.changed(before, after)
        return True

    def remove(self, name: str) -> bool:
        """Remove a record and its tags; False when there is none."""
        with self._lock:
            found = self._records.pop(name, None)
        self._tags.drop(self.arn(name))
        return found is not None

    def page(self, wanted: Parameters, only: Callable[[Record], bool] = lambda _: True) -> Parameters:
        """One page of a List call, of what `only` lets through.

        Raises:
            ServiceError: `ValidationException` for a token that is none.
        """
        size = wanted.get("MaxResults", DEFAULT_PAGE)
        backwards = (
            wanted.get("SortOrder", "Descending" if self.kind.newest_first else "Ascending") == "Descending"
        )
        after = _read_token(wanted["NextToken"]) if "NextToken" in wanted else None
        with self._lock:
            keyed = (
                (self._sort_key(wanted, number, record), record)
                for number, record in self._records.values()
                if self._matches(wanted, record) and only(record)
            )
            rest = (
                (key, record)
                for key, record in keyed
                if after is None or (key < after if backwards else key > after)
            )
            # A page, not all: an account may hold ten thousand.
            nearest = (heapq.nlargest if backwards else heapq.nsmallest)(size + 1, rest, key=itemgetter(0))
            page = [(key, dict(record)) for key, record in nearest]
        answer: Parameters = {self.kind.summaries: [record for _, record in page[:size]]}
        if len(page) > size:
            answer["NextToken"] = base64.urlsafe_b64encode(json.dumps(page[size - 1][0]).encode()).decode()
        return answer

    def _matches(self, wanted: Parameters, record: Record) -> bool:
        part = wanted.get("NameContains")
        if part and part.lower() not in record[self.kind.name].lower():
            return False
        if "StatusEquals" in wanted and record[self.kind.status] != wanted["StatusEquals"]:
            return False
        for member, later_than, earlier_than in _TIMES:
            after, before = wanted.get(later_than), wanted.get(earlier_than)
            # Models, endpoints and their configurations: that time or later; jobs and versions: later.
            inclusive = member == "CreationTime" and self.kind.newest_first
            if after and (record[member] < after or (record[member] == after and not inclusive)):
                return False
            if before and record[member] >= before:
                return False
        return True

    def _sort_key(self, wanted: Parameters, number: int, record: Record) -> tuple[str, int]:
        by = str(wanted.get("SortBy", "CreationTime"))
        member = {"Name": self.kind.name, "Status": self.kind.status}.get(by, by)
        value = record[member]
        return (value.isoformat(timespec="microseconds") if by == "CreationTime" else str(value)), number


class Tags:
    """The tags of all resources."""

    LIMIT = 50

    def __init__(self) -> None:
        self._tags: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()

    def keep(self) -> Any:
        """The tags, for a snapshot of the account."""
        with self._lock:
            return {arn: dict(tags) for arn, tags in self._tags.items()}

    def restore(self, kept: Any) -> None:
        """Have the tags of a snapshot."""
        with self._lock:
            self._tags = kept

    def put(self, arn: str, tags: list[dict[str, str]]) -> list[dict[str, str]]:
        """Add tags, and return all the resource has then.

        Raises:
            ServiceError: `ValidationException` beyond 50.
        """
        with self._lock:
            merged = {**self._tags.get(arn, {}), **{tag["Key"]: tag["Value"] for tag in tags}}
            if len(merged) > self.LIMIT:
                raise ServiceError("ValidationException", f"Tag limit of {self.LIMIT} exceeded")
            self._tags[arn] = merged
        return self.of(arn)

    def of(self, arn: str) -> list[dict[str, str]]:
        """The tags of a resource."""
        with self._lock:
            return [{"Key": key, "Value": value} for key, value in self._tags.get(arn, {}).items()]

    def take(self, arn: str, keys: list[str]) -> None:
        """Remove tags by key."""
        with self._lock:
            for key in keys:
                self._tags.get(arn, {}).pop(key, None)

    def drop(self, arn: str) -> None:
        """Forget a resource."""
        with self._lock:
            self._tags.pop(arn, None)


def not_found(what: str, arn: str) -> ServiceError:
    """SageMaker's words for a model, endpoint or endpoint configuration that is not there."""
    return ServiceError("ValidationException", f'Could not find {what} "{arn}".')


def _read_token(token: str) -> tuple[str, int]:
    try:
        value, number = json.loads(base64.urlsafe_b64decode(token))
        return str(value), int(number)
    except (ValueError, TypeError, binascii.Error) as error:
        raise ServiceError("ValidationException", "Invalid NextToken") from error
