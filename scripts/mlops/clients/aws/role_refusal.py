"""Why AWS does not give a job its role: which claim of the job's token does not match what the role trusts.

STS names some claims in its own words and is silent on the others; what the trust tests of GitLab's tokens is
`aud` and `sub` alone (terraform/modules/identity), so its silence means `sub`, unless `aud` ends with another
purpose than the role's.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops.base.errors import AuthenticationError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

_VALUES = "terraform/environments/<environment>/values.tfvars"
_MODELS = "terraform/root/models.auto.tfvars"
_GUIDE = "docs/operate/permissions.md says who may take which role."
# What a person needs of a token; the rest of it, and its signature, never reach a log.
_SHOWN = ("project_path", "ref", "ref_type", "ref_protected", "environment", "environment_protected")

# What the audience of a model's job ends with, and the name of its role.
_PURPOSES = ("build", "train", "deploy")

# Of STS's messages: a part of one, the claim it means, the cause, and what to do.
_WORDS = (
    (
        "audience",
        "aud",
        "it is {audience}, and the identity provider in AWS lists another",
        f"Set the input aws-audience to gitlab.audience of {_VALUES}, or to gitlab.url without it. "
        "If it is so, "
        "apply Terraform of the templates' own release: it lists an audience for each purpose.",
    ),
    (
        "No OpenIDConnect provider",
        "iss",
        "it is {issuer}, and account {account} has no identity provider of that name",
        f'Apply gitlab.url = "{{issuer}}" in {_VALUES}, or name a role of the right account.',
    ),
    (
        "verification key",
        "iss",
        "AWS cannot read the keys of {issuer}",
        "AWS must reach {issuer}/.well-known/openid-configuration and the keys it names, in 5 seconds.",
    ),
    (
        "required claim",
        "{missing}",
        "the token has no {missing}",
        "Give the job id_tokens as the templates do.",
    ),
    (
        "",
        "iss",
        "the token is not one that {issuer} signed",
        "Run the job again; if it stays, compare gitlab.url with the GitLab that runs it.",
    ),
)


def refused(error: ClientError, variables: Mapping[str, str]) -> AuthenticationError | None:
    """The error a person reads; None when STS did not refuse a job's token.

    Args:
        error: What the SDK raised.
        variables: The environment, which names the role and the file of the token.
    """
    if error.operation_name != "AssumeRoleWithWebIdentity":
        return None
    details = error.response.get("Error", {})
    role = variables.get("AWS_ROLE_ARN", "the job's role")
    claims = _claims(variables.get("AWS_WEB_IDENTITY_TOKEN_FILE", ""))
    claim, cause, step = _mismatch(details.get("Code", ""), str(details.get("Message", "")), role, claims)
    if not claim:
        return None
    lines = [cause, *_about(claims), f"AWS says: {details.get('Code')}: {details.get('Message')}"]
    return AuthenticationError(
        f"AWS does not accept this job for {role}: its token's claim {claim} does not match",
        cause="\n".join(lines),
        next_step=f"{step} {_GUIDE}",
    )


def _mismatch(code: str, message: str, role: str, claims: Mapping[str, Any]) -> tuple[str, str, str]:
    """The claim, the cause, and what to do; an empty claim for what has nothing to do with the token."""
    if code == "AccessDenied":
        return _other_purpose(role, claims) or ("sub", *_subject(role, claims))
    if code == "ExpiredTokenException":
        until = datetime.fromtimestamp(int(claims.get("exp") or 0), UTC).isoformat(sep=" ")
        return "exp", f"it was valid until {until}", "Run the job again, and look at the clock of the runner."
    if code != "InvalidIdentityToken":
        return "", "", ""
    facts = {
        "issuer": _text(claims, "iss") or "this GitLab",
        "audience": _text(claims, "aud"),
        "account": role.split(":")[4] if role.count(":") >= 5 else "of the role",
        "missing": message.rpartition(" ")[2],
    }
    found = next(words for words in _WORDS if words[0] in message)
    claim, cause, step = (text.format(**facts) for text in found[1:])
    return claim, cause, step


def _other_purpose(role: str, claims: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """The claim `aud`, the cause, and what to do, where the audience is not that of the role's purpose."""
    name, audience = role.rpartition("/")[2], _text(claims, "aud")
    wanted, found = name.rpartition("-")[2], audience.rpartition("/")[2]
    if not audience or wanted == found or (wanted not in _PURPOSES and found not in _PURPOSES):
        return None
    ending = f"one that ends with /{wanted}" if wanted in _PURPOSES else "one without a purpose"
    step = "Name the role of this job's purpose in aws-role-arn."
    if found not in _PURPOSES:
        step = (
            "Use the templates of the release that Terraform was applied from; while others are in use, "
            f"set gitlab.shared_audience = true in {_VALUES} and apply it."
        )
    return "aud", f"it is {audience}, and {name} trusts {ending}", step


def _subject(role: str, claims: Mapping[str, Any]) -> tuple[str, str]:
    project = _text(claims, "project_path") or "<group>/<project>"
    name = role.rpartition("/")[2]
    example = f"project_path:{project}:ref_type:branch:ref:main"
    cause = (
        f"it is {_text(claims, 'sub') or 'not readable'}\n"
        f"{name} trusts such as {example}, for the projects it lists; or there is no such role"
    )
    if claims.get("ref_type") == "tag":
        return cause, "Run the job on the protected branch: no tag takes a role."
    if claims.get("ref_protected") == "false":
        return cause, (
            "Merge the change: branches take the roles of MLOPS_MERGE_REQUEST_BUILD_ROLE_ARN and "
            f"MLOPS_MERGE_REQUEST_TRAIN_ROLE_ARN alone, where {_VALUES} has merge_requests = true."
        )
    step = f"List the model with its GitLab project in {_MODELS} and apply it"
    if name.endswith(("-plan", "-apply")):
        step = f"Compare gitlab.platform_project and protected_branch of {_VALUES}"
    return cause, f"{step}; with gitlab.deployment_tier, the job's environment must be protected and of it."


def _about(claims: Mapping[str, Any]) -> list[str]:
    known = [f"{name} {_text(claims, name)}" for name in _SHOWN if _text(claims, name)]
    return [f"the token is of {', '.join(known)}"] if known else []


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name, "")
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _claims(file: str) -> Mapping[str, Any]:
    """What the token says, unchecked: it is only shown. Empty when there is none that can be read."""
    try:
        payload = Path(file).read_text(encoding="utf-8").split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (OSError, ValueError, IndexError):
        return {}
    return claims if isinstance(claims, dict) else {}
