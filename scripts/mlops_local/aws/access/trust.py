"""Who may take a role: its trust policy, read as IAM reads it.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mlops_local.aws.access.policies import conditions_hold, listed, statements

if TYPE_CHECKING:
    from moto.iam.models import IAMBackend, Role


def find_role(iam: IAMBackend, arn: str) -> Role | None:
    """The role of this ARN, its path included; None for one of another account, or that nobody made."""
    return next((role for role in iam.roles.values() if role.arn == arn), None)


def admits_service(role: Role, service: str, account: str) -> bool:
    """Whether a service may take the role on behalf of this account.

    Args:
        role: The role.
        service: Such as sagemaker.amazonaws.com.
        account: Whose resource the service works for: `aws:SourceAccount`. A condition on `aws:SourceArn`
            counts as met, since the resource may not have a name yet.
    """
    return any(
        service in _principals(statement, "Service")
        and conditions_hold(statement, {"aws:sourceaccount": [account]})
        for statement in _admitting(role)
    )


def admits_caller(role: Role, caller_arn: str, account: str) -> bool:
    """Whether a person or a role of this account may take the role.

    Args:
        role: The role.
        caller_arn: Of a role; empty for the person who started the stack, who is the account's administrator.
        account: This account.
    """
    admitted = {"*", account, f"arn:aws:iam::{account}:root", *([caller_arn] if caller_arn else ())}
    return any(
        admitted & set(_principals(statement, "AWS"))
        and conditions_hold(statement, {"aws:principalaccount": [account]})
        for statement in _admitting(role)
    )


def _admitting(role: Role) -> Iterator[Mapping[str, Any]]:
    """The statements of a role's trust policy that let somebody take it."""
    document = role.assume_role_policy_document
    policy: Mapping[str, Any] = json.loads(document) if isinstance(document, str) else document
    for statement in statements([policy]):
        actions = set(listed(statement.get("Action")))
        if statement.get("Effect") == "Allow" and actions & {"sts:AssumeRole", "sts:*", "*"}:
            yield statement


def _principals(statement: Mapping[str, Any], kind: str) -> list[str]:
    principal = statement.get("Principal", {})
    if principal == "*":
        return ["*"] if kind == "AWS" else []
    return listed(principal.get(kind))
