"""The local STS gives a role to whom its trust names, and refuses everybody else in AWS's words."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from werkzeug.serving import make_server

from mlops.base.errors import AuthenticationError
from mlops.clients.aws import session as clients_aws
from mlops_local.aws.access import web_identity
from mlops_local.gitlab import id_tokens
from mlops_local.gitlab.app import create_app

from .conftest import LocalAws

ACCOUNT = "123456789012"
MAIN = "project_path:models/phishing-url:ref_type:branch:ref:main"


@dataclass(frozen=True)
class GitLab:
    """A local GitLab that signs tokens."""

    home: Path
    url: str

    @property
    def issuer(self) -> str:
        return self.url.removeprefix("http://")

    def token(self, audience: str = "", **changes: str) -> str:
        variables = {
            "CI_PROJECT_PATH": "models/phishing-url",
            "CI_PROJECT_NAMESPACE": "models",
            "CI_PROJECT_ID": "1",
            "CI_COMMIT_REF_NAME": "main",
            "CI_COMMIT_REF_PROTECTED": "true",
            "CI_COMMIT_SHA": "a" * 40,
            "CI_PIPELINE_ID": "7",
            "CI_PIPELINE_SOURCE": "push",
            "CI_JOB_ID": "7001",
            "GITLAB_USER_LOGIN": "ada",
        }
        return id_tokens.issue(self.home, self.url, {**variables, **changes}, audience or f"{self.url}/train")


@pytest.fixture(scope="module")
def gitlab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitLab]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path_factory.mktemp("gitlab")
    server = make_server("127.0.0.1", port, create_app(home, port), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield GitLab(home, f"http://127.0.0.1:{port}")
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def role(aws: LocalAws, gitlab: GitLab) -> str:
    """The ARN of a role that trusts one project's main branch."""
    iam = aws.client("iam")
    provider = iam.create_open_id_connect_provider(
        Url=f"https://{gitlab.issuer}", ClientIDList=[f"{gitlab.url}/train", f"{gitlab.url}/build"]
    )["OpenIDConnectProviderArn"]
    conditions = {
        "StringEquals": {f"{gitlab.issuer}:aud": f"{gitlab.url}/train", f"{gitlab.issuer}:sub": [MAIN]}
    }
    policy = trust(provider, conditions)
    made = iam.create_role(RoleName="ml-ops-train", AssumeRolePolicyDocument=json.dumps(policy))
    return str(made["Role"]["Arn"])


def trust(provider: str, conditions: dict[str, Any]) -> dict[str, Any]:
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": provider},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": conditions,
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def assume(aws: LocalAws, role: str, token: str, session: str = "gitlab-1-7001") -> dict[str, Any]:
    answer = aws.client("sts").assume_role_with_web_identity(
        RoleArn=role, RoleSessionName=session, WebIdentityToken=token
    )
    return dict(answer)


def refusal(aws: LocalAws, role: str, token: str) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        assume(aws, role, token)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_each_session_has_credentials_of_its_own(aws: LocalAws, gitlab: GitLab, role: str) -> None:
    sessions = [assume(aws, role, gitlab.token(), f"gitlab-1-{number}") for number in range(2)]
    assert [one["AssumedRoleUser"]["Arn"] for one in sessions] == [
        f"arn:aws:sts::{ACCOUNT}:assumed-role/ml-ops-train/gitlab-1-{number}" for number in range(2)
    ]
    assert len({one["Credentials"]["AccessKeyId"] for one in sessions}) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"CI_COMMIT_REF_NAME": "topic"},
        {"CI_COMMIT_REF_NAME": "main", "CI_COMMIT_TAG": "main"},
        {"CI_PROJECT_PATH": "models/phishing-url-2"},
    ],
)
def test_another_branch_tag_or_project(
    aws: LocalAws, gitlab: GitLab, role: str, changes: dict[str, str]
) -> None:
    assert refusal(aws, role, gitlab.token(**changes)) == (
        "AccessDenied",
        "Not authorized to perform sts:AssumeRoleWithWebIdentity",
    )


def test_a_role_that_is_not_there_looks_the_same(aws: LocalAws, gitlab: GitLab, role: str) -> None:
    code, _ = refusal(aws, role + "-2", gitlab.token())
    assert code == "AccessDenied"


def test_an_audience_the_provider_does_not_list(aws: LocalAws, gitlab: GitLab, role: str) -> None:
    assert refusal(aws, role, gitlab.token(audience="sts.amazonaws.com")) == (
        "InvalidIdentityToken",
        "Incorrect token audience",
    )


def test_an_audience_the_role_does_not_trust(aws: LocalAws, gitlab: GitLab, role: str) -> None:
    code, _ = refusal(aws, role, gitlab.token(audience=f"{gitlab.url}/build"))
    assert code == "AccessDenied"


def test_an_issuer_that_is_not_known(aws: LocalAws, gitlab: GitLab, role: str) -> None:
    stranger = GitLab(gitlab.home, "http://127.0.0.1:1")
    code, message = refusal(aws, role, stranger.token())
    assert (code, message.split(" for ")[0]) == (
        "InvalidIdentityToken",
        "No OpenIDConnect provider found in your account",
    )


def test_a_token_that_has_expired(
    aws: LocalAws, gitlab: GitLab, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 4000)
    token = gitlab.token()
    monkeypatch.undo()
    code, message = refusal(aws, role, token)
    assert code == "ExpiredTokenException"
    assert message.startswith("Token expired: current date/time ")


def test_a_token_somebody_else_signed(aws: LocalAws, gitlab: GitLab, role: str, tmp_path: Path) -> None:
    forged = GitLab(tmp_path, gitlab.url).token()
    code, _ = refusal(aws, role, forged)
    assert code == "InvalidIdentityToken"
    unsigned = gitlab.token().rpartition(".")[0] + "."
    code, _ = refusal(aws, role, unsigned)
    assert code == "InvalidIdentityToken"


def test_what_is_no_token(aws: LocalAws, role: str) -> None:
    code, _ = refusal(aws, role, "header.claims.signature")
    assert code == "InvalidIdentityToken"


def test_an_identity_provider_out_of_reach(aws: LocalAws, role: str, tmp_path: Path) -> None:
    url = "http://127.0.0.1:9"
    aws.client("iam").create_open_id_connect_provider(
        Url="https://127.0.0.1:9", ClientIDList=[f"{url}/train"]
    )
    code, message = refusal(aws, role, GitLab(tmp_path, url).token())
    assert code == "InvalidIdentityToken"
    assert message.startswith("Couldn't retrieve verification key from your identity provider")


def test_a_job_takes_its_role_and_is_told_why_it_may_not(
    aws: LocalAws, gitlab: GitLab, role: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    settings = {
        "AWS_ENDPOINT_URL": aws.endpoint,
        "AWS_REGION": "eu-west-1",
        "AWS_ROLE_ARN": role,
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    clients_aws._client.cache_clear()
    clients_aws._session.cache_clear()

    token.write_text(gitlab.token(CI_COMMIT_REF_NAME="topic", CI_COMMIT_REF_PROTECTED="false"))
    with pytest.raises(AuthenticationError, match="claim sub does not match") as caught:
        clients_aws.client("sts")
    assert "it is project_path:models/phishing-url:ref_type:branch:ref:topic" in caught.value.cause

    token.write_text(gitlab.token())
    caller = clients_aws.client("sts").get_caller_identity()
    assert caller["Arn"].startswith(f"arn:aws:sts::{ACCOUNT}:assumed-role/ml-ops-train/")
    clients_aws._client.cache_clear()
    clients_aws._session.cache_clear()


@pytest.mark.parametrize(
    ("conditions", "trusted"),
    [
        ({"StringLike": {"gitlab:sub": "project_path:a/b:ref_type:branch:ref:*"}}, True),
        ({"StringLike": {"gitlab:sub": ["project_path:a/c:*", "project_path:a/?:ref_type:*"]}}, True),
        ({"StringEquals": {"gitlab:sub": "project_path:a/b:ref_type:branch:ref:*"}}, False),
        ({"StringLike": {"gitlab:sub": "project_path:a/b:ref_type:tag:*"}}, False),
        ({"StringEquals": {"gitlab:project_path": "a/b"}}, False),
        ({"StringEqualsIgnoreCase": {"gitlab:aud": "here"}}, False),
    ],
)
def test_conditions(conditions: dict[str, Any], trusted: bool) -> None:
    claims = {"aud": "here", "sub": "project_path:a/b:ref_type:branch:ref:topic", "project_path": "a/b"}
    assert web_identity.trusts(trust("provider", conditions), "provider", "gitlab", claims) is trusted


def test_another_provider_is_not_trusted() -> None:
    claims = {"aud": "here", "sub": "me"}
    assert not web_identity.trusts(trust("provider", {}), "another", "gitlab", claims)
    assert web_identity.trusts(trust("provider", {}), "provider", "gitlab", claims)
