"""Reads IAM policies as a careful reviewer does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# AWS defines no resource for these:
# https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
WITHOUT_RESOURCE = {"ecr:GetAuthorizationToken", "cloudwatch:PutMetricData"}
# Of those, the ones a condition can bound, and must.
NEEDS_CONDITION = {"cloudwatch:PutMetricData": "cloudwatch:namespace"}


def objections(policy: Mapping[str, Any]) -> Iterator[str]:
    """What is too wide in a policy document."""
    for statement in policy["Statement"]:
        name = statement.get("Sid", "a statement")
        actions = _listed(statement.get("Action"))
        if statement["Effect"] == "Deny":
            continue
        if "NotAction" in statement or "NotResource" in statement or "NotPrincipal" in statement:
            yield f"{name} allows everything but what it lists"
        if _is_anyone(statement.get("Principal")):
            yield f"{name} allows anyone"
        for action in actions:
            if "*" in action or "?" in action:
                yield f"{name} allows {action}"
            wanted = NEEDS_CONDITION.get(action)
            conditions = [key for test in statement.get("Condition", {}).values() for key in test]
            if wanted and wanted not in conditions:
                yield f"{name} allows {action} without a condition on {wanted}"
        if "*" in _listed(statement.get("Resource")):
            for action in sorted(set(actions) - WITHOUT_RESOURCE):
                yield f"{name} allows {action} on every resource"


def _is_anyone(principal: object) -> bool:
    if isinstance(principal, Mapping):
        return any("*" in _listed(value) for value in principal.values())
    return principal == "*"


def _listed(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)
