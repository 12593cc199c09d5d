"""The reviewer of policies objects to what it should."""

from __future__ import annotations

from typing import Any

import pytest

from .policies import objections, objections_to_endpoint

NARROW = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*"}


ROOT = {"Principal": {"AWS": "arn:aws:iam::111122223333:root"}, "Action": "kms:*", "Resource": "*"}


def found(of_key: bool = False, **changes: Any) -> list[str]:
    return list(objections({"Statement": [NARROW | changes]}, of_key=of_key))


def test_a_narrow_statement_passes() -> None:
    assert not found()


@pytest.mark.parametrize(
    ("changes", "objection"),
    [
        ({"Action": "*"}, "allows *"),
        ({"Action": ["s3:GetObject", "s3:Put*"]}, "allows s3:Put*"),
        ({"Resource": "*"}, "allows s3:GetObject on every resource"),
        ({"Resource": ["*"], "Action": ["ecr:GetAuthorizationToken", "ecr:PutImage"]}, "allows ecr:PutImage"),
        ({"Action": "cloudwatch:PutMetricData", "Resource": "*"}, "without a condition"),
        ({"Action": "sagemaker:ListModels"}, "allows sagemaker:ListModels on resources it does not know"),
        ({"NotAction": "iam:*"}, "everything but"),
        ({"Principal": "*"}, "allows anyone"),
        ({"Principal": {"AWS": ["*"]}}, "allows anyone"),
        ({"Principal": {"Service": "cloudwatch.amazonaws.com"}}, "for any account"),
        (ROOT, "allows kms:*"),
    ],
)
def test_a_wide_statement_does_not(changes: dict[str, Any], objection: str) -> None:
    assert any(objection in line for line in found(**changes))


def test_a_key_s_policy_lets_the_account_decide() -> None:
    assert not found(of_key=True, **ROOT)
    assert not found(of_key=True, Action="kms:Decrypt", Resource="*")


@pytest.mark.parametrize(
    ("changes", "objection"),
    [
        ({"Principal": {"AWS": "arn:aws:iam::111122223333:role/someone"}}, "allows kms:*"),
        ({"Principal": {"AWS": "*"}}, "allows anyone"),
        ({"Action": ["kms:*", "kms:Decrypt"]}, "allows kms:*"),
        ({"Principal": {"Service": "budgets.amazonaws.com"}, "Action": "kms:Decrypt"}, "for any account"),
    ],
)
def test_a_key_s_policy_lets_nobody_else(changes: dict[str, Any], objection: str) -> None:
    assert any(objection in line for line in found(of_key=True, **(ROOT | changes)))


OURS = {"aws:PrincipalAccount": "111122223333"}
THEIRS = {"aws:ResourceAccount": "111122223333"}


@pytest.mark.parametrize(
    ("statement", "objection"),
    [
        ({"Action": "*", "Resource": "*", "Condition": {"StringEquals": OURS | THEIRS}}, ""),
        ({"Action": "s3:GetObject", "Resource": "arn:aws:s3:::layers/*"}, ""),
        ({"Action": "s3:*", "Resource": "arn:aws:s3:::layers/*"}, "lets anyone do s3:*"),
        ({"Action": "*", "Resource": "*", "Condition": {"StringEquals": OURS}}, "to other accounts"),
        (
            {"Action": "s3:GetObject", "Resource": "*", "Condition": {"StringEquals": THEIRS}},
            "to other accounts",
        ),
    ],
)
def test_an_endpoint_bounds_what_goes_through_it(statement: dict[str, Any], objection: str) -> None:
    found = list(objections_to_endpoint({"Statement": [statement]}))
    assert objection in "".join(found)
    assert bool(found) == bool(objection)
