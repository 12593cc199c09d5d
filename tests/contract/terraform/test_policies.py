"""The reviewer of policies objects to what it should."""

from __future__ import annotations

from typing import Any

import pytest

from .policies import objections

NARROW = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*"}


def found(**changes: Any) -> list[str]:
    return list(objections({"Statement": [NARROW | changes]}))


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
        ({"NotAction": "iam:*"}, "everything but"),
        ({"Principal": "*"}, "allows anyone"),
        ({"Principal": {"AWS": ["*"]}}, "allows anyone"),
    ],
)
def test_a_wide_statement_does_not(changes: dict[str, Any], objection: str) -> None:
    assert any(objection in line for line in found(**changes))
