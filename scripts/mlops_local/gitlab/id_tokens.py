"""ID tokens of the local GitLab: who a job is, signed, as `id_tokens` gives them to jobs.

https://docs.gitlab.com/ci/secrets/id_token_authentication/
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlops_local.gitlab import records

KEYS_PATH = "/oauth/discovery/keys"
CONFIGURATION_PATH = "/.well-known/openid-configuration"

_FILE = "id-token-key.json"
_SECONDS = 3600  # GitLab's tokens last as long as their job may


def configuration(server: str) -> dict[str, Any]:
    """What an identity provider says of itself, for those who check its tokens."""
    return {
        "issuer": server,
        "jwks_uri": f"{server}{KEYS_PATH}",
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "claims_supported": ["iss", "sub", "aud", "exp", "iat", "nbf", "jti"],
    }


def public_keys(home: Path) -> dict[str, Any]:
    """The keys that check a token's signature, as a JSON Web Key Set."""
    return {"keys": [_key(home).as_dict(private=False)]}


def issue(home: Path, server: str, variables: Mapping[str, str], audience: str) -> str:
    """The token of a job.

    Args:
        home: Of the local GitLab.
        server: Its URL, which is the issuer.
        variables: The job's predefined variables.
        audience: What the job's `id_tokens` asks for.
    """
    from joserfc import jwt

    key = _key(home)
    header = {"alg": "RS256", "typ": "JWT", "kid": key.kid}
    return jwt.encode(header, claims(server, variables, audience, int(time.time())), key)


def claims(server: str, variables: Mapping[str, str], audience: str, now: int) -> dict[str, Any]:
    """What a token says; all but times are words, as GitLab writes them."""
    project, ref = variables["CI_PROJECT_PATH"], variables["CI_COMMIT_REF_NAME"]
    ref_type = "tag" if variables.get("CI_COMMIT_TAG") else "branch"
    return {
        "iss": server,
        # GitLab's default of ci_id_token_sub_claim_components
        "sub": f"project_path:{project}:ref_type:{ref_type}:ref:{ref}",
        "aud": audience,
        "jti": f"{variables['CI_JOB_ID']}-{now}",
        "iat": now,
        "nbf": now - 5,
        "exp": now + _SECONDS,
        "namespace_path": variables["CI_PROJECT_NAMESPACE"],
        "project_id": variables["CI_PROJECT_ID"],
        "project_path": project,
        "user_login": variables["GITLAB_USER_LOGIN"],
        "pipeline_id": variables["CI_PIPELINE_ID"],
        "pipeline_source": variables["CI_PIPELINE_SOURCE"],
        "job_id": variables["CI_JOB_ID"],
        "ref": ref,
        "ref_type": ref_type,
        "ref_path": f"refs/{'tags' if ref_type == 'tag' else 'heads'}/{ref}",
        "ref_protected": variables["CI_COMMIT_REF_PROTECTED"],
        "sha": variables["CI_COMMIT_SHA"],
    }


def _key(home: Path) -> Any:
    """The one key of this GitLab, made when it is first asked for."""
    from joserfc.jwk import RSAKey

    file = home / _FILE
    if not file.exists():
        with records.edit(file) as kept:
            if not kept:
                kept |= RSAKey.generate_key(2048, auto_kid=True).as_dict(private=True)
        file.chmod(0o600)
    return RSAKey.import_key(records.read(file))
