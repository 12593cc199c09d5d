"""A role that cannot be taken: the error names role, claim, what the token has and what the role trusts."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mlops.base.errors import AuthenticationError
from mlops.clients.aws.role_refusal import refused

TRAIN = "arn:aws:iam::111122223333:role/ml-ops-train"
CLAIMS = {
    "iss": "https://gitlab.example.com",
    "aud": "https://gitlab.example.com/train",
    "sub": "project_path:models/spam:ref_type:branch:ref:main",
    "exp": 1_767_225_600,
    "project_path": "models/spam",
    "ref": "main",
    "ref_type": "branch",
    "ref_protected": "true",
    "user_email": "ada@example.com",
}
DENIED = "Not authorized to perform sts:AssumeRoleWithWebIdentity"


def refusal(
    folder: Path, code: str, message: str, role: str = TRAIN, **changes: Any
) -> AuthenticationError | None:
    payload = base64.urlsafe_b64encode(json.dumps({**CLAIMS, **changes}).encode()).decode().rstrip("=")
    token = folder / "token"
    token.write_text(f"header.{payload}.signature", encoding="utf-8")
    error = ClientError({"Error": {"Code": code, "Message": message}}, "AssumeRoleWithWebIdentity")
    return refused(error, {"AWS_ROLE_ARN": role, "AWS_WEB_IDENTITY_TOKEN_FILE": str(token)})


@pytest.mark.parametrize(
    ("code", "message", "changes", "claim", "found", "step"),
    [
        (
            "AccessDenied",
            DENIED,
            {},
            "sub",
            "it is project_path:models/spam:ref_type:branch:ref:main",
            "terraform/root/models.auto.tfvars",
        ),
        (
            "AccessDenied",
            DENIED,
            {"ref": "topic", "ref_protected": "false"},
            "sub",
            "ml-ops-train trusts such as project_path:models/spam:ref_type:branch:ref:main",
            "MLOPS_MERGE_REQUEST_TRAIN_ROLE_ARN",
        ),
        (
            "AccessDenied",
            DENIED,
            {"ref": "v1", "ref_type": "tag"},
            "sub",
            "the token is of project_path models/spam, ref v1, ref_type tag, ref_protected true",
            "no tag takes a role",
        ),
        (
            "InvalidIdentityToken",
            "Incorrect token audience",
            {"aud": ["https://gitlab.example.com/"]},
            "aud",
            "it is https://gitlab.example.com/, and the identity provider in AWS lists another",
            "aws-audience",
        ),
        (
            "InvalidIdentityToken",
            "No OpenIDConnect provider found in your account for https://gitlab.example.com",
            {},
            "iss",
            "account 111122223333 has no identity provider of that name",
            'gitlab.url = "https://gitlab.example.com"',
        ),
        (
            "InvalidIdentityToken",
            "Couldn't retrieve verification key from your identity provider",
            {},
            "iss",
            "AWS cannot read the keys of https://gitlab.example.com",
            "https://gitlab.example.com/.well-known/openid-configuration",
        ),
        ("InvalidIdentityToken", "Missing a required claim: aud", {}, "aud", "has no aud", "id_tokens"),
        ("InvalidIdentityToken", "The token is not valid", {}, "iss", "is not one that", "gitlab.url"),
        (
            "ExpiredTokenException",
            "Token expired: current date/time 1767229200 must be before the expiration date/time 1767225600",
            {},
            "exp",
            "it was valid until 2026-01-01 00:00:00+00:00",
            "Run the job again",
        ),
    ],
)
def test_the_claim_is_named(
    tmp_path: Path, code: str, message: str, changes: dict[str, Any], claim: str, found: str, step: str
) -> None:
    error = refusal(tmp_path, code, message, **changes)

    assert error is not None
    assert error.what == f"AWS does not accept this job for {TRAIN}: its token's claim {claim} does not match"
    assert found in error.cause
    assert f"AWS says: {code}: {message}" in error.cause
    assert step in error.next_step
    assert error.next_step.endswith("docs/operate/permissions.md says who may take which role.")


def test_the_platforms_own_roles_have_other_settings(tmp_path: Path) -> None:
    error = refusal(tmp_path, "AccessDenied", DENIED, role="arn:aws:iam::1:role/ml-ops-apply", aud="x")

    assert error is not None
    assert "gitlab.platform_project" in error.next_step


def test_nothing_else_of_the_token_is_shown(tmp_path: Path) -> None:
    error = refusal(tmp_path, "AccessDenied", DENIED)

    assert error is not None
    assert "ada@example.com" not in str(error)
    assert "signature" not in str(error)
    assert "header" not in str(error)


@pytest.mark.parametrize("content", ["", "no token", "a.b.c", "a.W10.c"])
def test_a_token_that_cannot_be_read(tmp_path: Path, content: str) -> None:
    token = tmp_path / "token"
    token.write_text(content, encoding="utf-8")
    error = ClientError({"Error": {"Code": "AccessDenied", "Message": DENIED}}, "AssumeRoleWithWebIdentity")

    found = refused(error, {"AWS_ROLE_ARN": TRAIN, "AWS_WEB_IDENTITY_TOKEN_FILE": str(token)})

    assert found is not None
    assert "it is not readable" in found.cause
    assert "project_path:<group>/<project>:ref_type:branch:ref:main" in found.cause


def test_what_has_nothing_to_do_with_a_token() -> None:
    throttled = ClientError(
        {"Error": {"Code": "Throttling", "Message": "slow down"}}, "AssumeRoleWithWebIdentity"
    )
    another = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetParameter")

    assert refused(throttled, {}) is None
    assert refused(another, {}) is None


@pytest.mark.parametrize(
    ("purpose", "audience", "found", "step"),
    [
        ("deploy", "https://gitlab.example.com/build", "trusts one that ends with /deploy", "aws-role-arn"),
        ("train", "https://gitlab.example.com", "trusts one that ends with /train", "gitlab.shared_audience"),
        ("apply", "https://gitlab.example.com/deploy", "trusts one without a purpose", "aws-role-arn"),
    ],
)
def test_a_token_for_another_purpose(
    tmp_path: Path, purpose: str, audience: str, found: str, step: str
) -> None:
    role = TRAIN.replace("train", purpose)
    error = refusal(tmp_path, "AccessDenied", DENIED, role, aud=audience)

    assert error is not None
    assert error.what.endswith("claim aud does not match")
    assert error.cause.startswith(f"it is {audience}, and ml-ops-{purpose} {found}")
    assert step in error.next_step


def test_a_role_of_another_name_is_not_judged_by_its_audience(tmp_path: Path) -> None:
    error = refusal(tmp_path, "AccessDenied", DENIED, TRAIN + "er", aud="https://gitlab.example.com")

    assert error is not None
    assert error.what.endswith("claim sub does not match")
