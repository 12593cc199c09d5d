"""Whether policies allow an action on a resource, as IAM decides it.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html. A condition on
something that a request says nothing of here holds in a statement that allows, and does not in one that
denies: what cannot be known locally is neither a denial nor a reason for one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

Policy = Mapping[str, Any]
Context = Mapping[str, Sequence[str]]
"""What is known of a request, such as `kms:ViaService`, by condition key in lower case."""


def allows(policies: Iterable[Policy], action: str, resources: Sequence[str], context: Context) -> bool:
    """Whether a set of policies allows an action.

    Args:
        resources: Other names of one resource; none if it is not known, which any statement's will match.
        context: See `Context`.
    """
    allowed = False
    for statement in statements(policies):
        if not _matches(statement, action, resources, context):
            continue
        if statement["Effect"] == "Deny":
            return False
        allowed = True
    return allowed


def denies_outright(
    policies: Iterable[Policy], action: str, resources: Sequence[str], context: Context
) -> bool:
    """Whether one of the policies denies an action outright; see `allows` for the arguments."""
    return any(
        statement["Effect"] == "Deny" and _matches(statement, action, resources, context)
        for statement in statements(policies)
    )


def statements(policies: Iterable[Policy]) -> Iterator[Mapping[str, Any]]:
    """All statements; a policy may have one that is not in a list."""
    for policy in policies:
        found = policy.get("Statement", [])
        yield from [found] if isinstance(found, Mapping) else found


def _matches(statement: Mapping[str, Any], action: str, resources: Sequence[str], context: Context) -> bool:
    denies = statement["Effect"] == "Deny"
    if "NotAction" in statement:
        if _any(listed(statement["NotAction"]), [action], ignore_case=True):
            return False
    elif not _any(listed(statement.get("Action")), [action], ignore_case=True):
        return False
    if not resources and denies and "*" not in listed(statement.get("Resource")):
        return False
    if resources and "NotResource" in statement:
        if _any(listed(statement["NotResource"]), resources):
            return False
    elif resources and not _any(listed(statement.get("Resource")), resources):
        return False
    return conditions_hold(statement, context)


def conditions_hold(statement: Mapping[str, Any], context: Context) -> bool:
    """Whether what a statement asks of a request's circumstances is so."""
    denies = statement["Effect"] == "Deny"
    return all(
        _holds(operator, context.get(key.lower()), listed(values), unknown=not denies)
        for operator, keys in statement.get("Condition", {}).items()
        for key, values in keys.items()
    )


def _holds(operator: str, found: Sequence[str] | None, values: list[str], *, unknown: bool) -> bool:
    name = operator.removeprefix("ForAnyValue:").removeprefix("ForAllValues:").removesuffix("IfExists")
    test = _OPERATORS.get(name)
    if found is None or test is None:
        return unknown
    if name.startswith("StringNot"):
        return all(test(one, value) for one in found for value in values)
    return any(test(one, value) for one in found for value in values)


def _any(patterns: Iterable[str], names: Iterable[str], *, ignore_case: bool = False) -> bool:
    if ignore_case:
        patterns, names = [one.lower() for one in patterns], [one.lower() for one in names]
    return any(_compiled(pattern).fullmatch(name) for pattern in patterns for name in names)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """A pattern of IAM: `*` for anything, `?` for one character."""
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda found, value: found == value,
    "StringNotEquals": lambda found, value: found != value,
    "StringLike": lambda found, value: bool(_compiled(value).fullmatch(found)),
    "StringNotLike": lambda found, value: not _compiled(value).fullmatch(found),
    "ArnEquals": lambda found, value: bool(_compiled(value).fullmatch(found)),
    "ArnLike": lambda found, value: bool(_compiled(value).fullmatch(found)),
    "Bool": lambda found, value: found.lower() == value.lower(),
}


def listed(value: Any) -> list[str]:
    """A policy's value that may be one or several."""
    if value is None:
        return []
    return [str(one) for one in value] if isinstance(value, (list, tuple)) else [_word(value)]


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
