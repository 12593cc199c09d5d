"""Every role of the platform is bounded, and its own policy asks for nothing beyond the boundary.

What a boundary leaves out is denied without a word in the plan, so it is noticed here or in production.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mlops_local.aws.access import policies

from .planned import Planned

MODULES = Path(__file__).parents[3] / "terraform" / "modules"
MADE_UP = re.compile(r"[:/]planned(/|$)")
BOUNDARY = "module.identity[0].aws_iam_policy.boundary.policy"
BUILD = 'module.identity[0].aws_iam_role_policy.models["build"].policy'
# An administrator makes these two; they manage the others' identities.
UNBOUNDED = 'resource "aws_iam_role" "platform"'


def beyond(boundary: dict[str, Any], policy: dict[str, Any]) -> list[str]:
    """What a policy allows and the boundary does not; a pattern must lie within one of the boundary's."""
    return [
        f"{action} on {resource}"
        for statement in policy["Statement"]
        if statement["Effect"] == "Allow"
        for action in policies.listed(statement["Action"])
        for resource in policies.listed(statement["Resource"])
        # what a mocked provider makes up has no name of ours
        if not policies.allows([boundary], action, [] if MADE_UP.search(resource) else [resource], {})
    ]


def test_every_role_has_the_boundary() -> None:
    roles = [
        (file.relative_to(MODULES).as_posix(), block)
        for file in sorted(MODULES.rglob("*.tf"))
        if ".terraform" not in file.parts
        for block in re.findall(
            r'^resource "aws_iam_role" .*?^\}', file.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        )
    ]
    assert len(roles) >= 6
    for file, block in roles:
        assert "  permissions_boundary" in block or block.startswith(UNBOUNDED), file


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_no_role_asks_for_more_than_the_boundary(environment: str, planned: dict[str, Planned]) -> None:
    # The mocked provider's account is another than that of the environment's values.
    text = json.dumps(planned[environment].documents)
    documents = json.loads(re.sub(r"\b\d{12}\b", "111122223333", text))
    own = {where: policy for where, policy in documents.items() if ".aws_iam_role_policy." in where}

    assert len(own) >= 6
    assert {
        where: found for where, policy in own.items() if (found := beyond(documents[BOUNDARY], policy))
    } == {}


def test_no_job_may_change_whose_model_it_is(planned: dict[str, Planned]) -> None:
    documents = planned["prod"].documents
    boundary, build = documents[BOUNDARY], documents[BUILD]
    (seen,) = [one for one in build["Statement"] if "ecr:ListTagsForResource" in one["Action"]]

    assert [name.rpartition(":repository/")[2] for name in seen["Resource"]] == ["web-safety/phishing-url"]
    for repository in seen["Resource"]:
        assert policies.allows([build, boundary], "ecr:ListTagsForResource", [repository], {})
        for action in (
            "ecr:TagResource",
            "ecr:UntagResource",
            "ecr:CreateRepository",
            "ecr:DeleteRepository",
        ):
            assert not policies.allows([boundary], action, [repository], {}), action


def test_what_lies_beyond_is_found() -> None:
    boundary = {
        "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::ours-*"}]
    }
    narrow = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": ["arn:aws:s3:::ours-1/*"]}
    assert beyond(boundary, {"Statement": [narrow]}) == []
    assert beyond(boundary, {"Statement": [narrow | {"Resource": "arn:aws:s3:::*"}]}) == [
        "s3:GetObject on arn:aws:s3:::*"
    ]
    assert beyond(boundary, {"Statement": [narrow | {"Action": ["s3:PutObject"]}]}) == [
        "s3:PutObject on arn:aws:s3:::ours-1/*"
    ]
