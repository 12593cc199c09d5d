"""Reads IAM policies as a careful reviewer does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

# AWS defines no resource for these:
# https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
WITHOUT_RESOURCE = {
    "cloudwatch:GetMetricData",
    "cloudwatch:ListDashboards",
    "cloudwatch:PutMetricData",
    "ecr:GetAuthorizationToken",
    "kms:CreateKey",
    "kms:ListAliases",
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:DeleteResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:GetQueryResults",
    "logs:PutResourcePolicy",
    "s3:GetAccountPublicAccessBlock",
    "sagemaker:ListEndpoints",
    "sagemaker:ListModelPackageGroups",
    "sagemaker:ListModelPackages",
    "sagemaker:ListModels",
    "sagemaker:ListProcessingJobs",
    "sagemaker:ListTrainingJobs",
    "ssm:DescribeParameters",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
}
# Of those, the ones a condition can bound, and must.
NEEDS_CONDITION = {
    "cloudwatch:PutMetricData": "cloudwatch:namespace",
    "kms:CreateKey": "aws:RequestTag/ml-ops:managed-by",
}
# Every one of EC2's lists: none can be bounded by what it would find.
_LISTS = re.compile(r"ec2:Describe[A-Za-z]+")


# The principal of the statement AWS begins a key's policy with, which lets the account's IAM policies decide.
_ACCOUNT = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:root")


def objections(policy: Mapping[str, Any], *, of_key: bool = False) -> Iterator[str]:
    """What is too wide in a policy document.

    Args:
        policy: The document.
        of_key: Whether it is a KMS key's own policy, in which the resource `*` is that key, and in which the
            account's root must be allowed everything:
            https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html
    """
    for statement in policy["Statement"]:
        if of_key and _lets_iam_decide(statement):
            continue
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
        if (
            "Resource" in statement
            and _is_service(statement.get("Principal"))
            and not statement.get("Condition")
        ):
            yield f"{name} lets a service act for any account"
        if "Resource" in statement and "*" not in _listed(statement["Resource"]):
            # IAM compares such an action with no resource but every one, so it would be refused.
            for action in sorted(set(actions) & WITHOUT_RESOURCE):
                yield f"{name} allows {action} on resources it does not know"
        if "*" in _listed(statement.get("Resource")) and not of_key:
            for action in sorted(set(actions) - WITHOUT_RESOURCE):
                if _LISTS.fullmatch(action):
                    continue
                yield f"{name} allows {action} on every resource"


def objections_to_endpoint(policy: Mapping[str, Any]) -> Iterator[str]:
    """What is too wide in a VPC endpoint's policy.

    It grants nothing: it bounds what those who were granted it elsewhere can do through the endpoint. So every
    statement must be bounded: to this account's own roles, or to named actions on named resources.
    """
    for statement in policy["Statement"]:
        name = statement.get("Sid", "a statement")
        keys = {key for test in statement.get("Condition", {}).values() for key in test}
        ours = "aws:PrincipalAccount" in keys
        for action in _listed(statement["Action"]):
            if not ours and "*" in action:
                yield f"{name} lets anyone do {action}"
        if (
            "*" in _listed(statement["Resource"])
            and not {"aws:PrincipalAccount", "aws:ResourceAccount"} <= keys
        ):
            yield f"{name} lets data out to other accounts"


def _lets_iam_decide(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal")
    if not isinstance(principal, Mapping) or set(principal) != {"AWS"}:
        return False
    return bool(_ACCOUNT.fullmatch(str(principal["AWS"]))) and _listed(statement.get("Action")) == ["kms:*"]


def _is_service(principal: object) -> bool:
    return isinstance(principal, Mapping) and "Service" in principal


def _is_anyone(principal: object) -> bool:
    if isinstance(principal, Mapping):
        return any("*" in _listed(value) for value in principal.values())
    return principal == "*"


def _listed(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)
