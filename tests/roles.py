"""Roles that services take in a local AWS of tests."""

from __future__ import annotations

import json
from typing import Any


def make_role(iam: Any, arn: str, service: str = "sagemaker.amazonaws.com") -> None:
    """A role that a service may take, and that may do everything.

    Args:
        iam: A client.
        arn: Of the role, with its path.
        service: The service's principal.
    """
    path, name = arn.partition(":role")[2].rsplit("/", 1)
    trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}

    def policy(statement: dict[str, Any]) -> str:
        return json.dumps({"Version": "2012-10-17", "Statement": [statement]})

    iam.create_role(RoleName=name, Path=f"{path}/", AssumeRolePolicyDocument=policy(trust))
    iam.put_role_policy(RoleName=name, PolicyName="everything", PolicyDocument=policy(everything))
