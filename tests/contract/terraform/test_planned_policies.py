"""Every policy that a plan of dev, stage or prod holds, read by the reviewer; and its buckets."""

from __future__ import annotations

import re

import pytest

from mlops_local.aws.access import web_identity

from .planned import ENVIRONMENTS, Planned

CLOSED = ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets")
PURPOSES = ("build", "train", "deploy")


def opens(planned: Planned, role: str, purpose: str, project: str = "models/phishing-url") -> bool:
    """Whether the local STS gives a role to a job of the protected branch whose audience has this purpose."""
    kind = "platform" if role in ("plan", "apply") else "models"
    policy = planned.documents[f'module.identity[0].aws_iam_role.{kind}["{role}"].assume_role_policy']
    provider = policy["Statement"][0]["Principal"]["Federated"]
    claims = {
        "aud": "/".join(filter(None, ("https://gitlab.example.com", purpose))),
        "sub": f"project_path:{project}:ref_type:branch:ref:main",
    }
    return web_identity.trusts(policy, provider, "gitlab.example.com", claims)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_no_policy_is_wider_than_it_must_be(environment: str, planned: dict[str, Planned]) -> None:
    found = planned[environment]
    assert not found.objections()
    kinds = {part for where in found.documents for part in where.split(".") if part.startswith("aws_")}
    assert kinds >= {
        "aws_cloudwatch_log_resource_policy",
        "aws_iam_policy",
        "aws_iam_role",
        "aws_iam_role_policy",
        "aws_kms_key",
        "aws_s3_bucket_policy",
        "aws_sns_topic_policy",
        "aws_sqs_queue",
        "aws_vpc_endpoint",
    }
    for purpose in PURPOSES:
        assert {one for one in (*PURPOSES, "") if opens(found, purpose, one)} == {purpose}
    for purpose in ("plan", "apply"):
        assert {one for one in (*PURPOSES, "") if opens(found, purpose, one, "platform/ml-ops")} == {""}
    # MWAA's own endpoints have none: AWS recommends not to bound them, as MWAA calls from AWS's account.
    assert {where.split('"')[0] for where in found.unknown} <= {"module.network[0].aws_vpc_endpoint.service["}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_bucket_is_private(environment: str, planned: dict[str, Planned]) -> None:
    found = planned[environment].buckets
    assert {re.sub(r"[0-9]{12}", "ACCOUNT", name) for name in found} == {
        f"ml-ops-{environment}-ACCOUNT",
        f"ml-ops-{environment}-ACCOUNT-logs",
        f"ml-ops-airflow-{environment}-ACCOUNT",
    }
    for name, has in found.items():
        assert has["versioning"]["versioning_configuration"][0]["status"] == "Enabled"
        (rule,) = has["server_side_encryption_configuration"]["rule"]
        # S3 delivers access logs to a bucket with its own encryption only
        key = "AES256" if name.endswith("-logs") else "aws:kms"
        assert rule["apply_server_side_encryption_by_default"][0]["sse_algorithm"] == key
        assert has["ownership_controls"]["rule"][0]["object_ownership"] == "BucketOwnerEnforced"
        assert all(has["public_access_block"][setting] for setting in CLOSED)
        assert "DenyWithoutTLS" in has["policy"]["policy"]
        assert "lifecycle_configuration" in has
        assert ("logging" in has) != name.endswith("-logs")


def test_a_bad_policy_is_found(planned: dict[str, Planned]) -> None:
    assert planned["planted"].objections() == [
        "aws_iam_role_policy.planted.policy: a statement allows s3:*",
        "aws_iam_role_policy.planted.policy: a statement allows s3:* on every resource",
    ]
