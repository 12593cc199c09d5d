"""Whose access key it is: the sessions of roles, and the policies those roles have.

STS's own sessions are moto's. What AWS runs for a role (a Lambda, a SageMaker job, MWAA's workers) gets a
session of that role from us, as it does from AWS.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mlops_local.aws.access import trust
from mlops_local.base.config import LocalAwsConfig

if TYPE_CHECKING:
    from moto.iam.models import IAMBackend, ManagedPolicy, Role
    from moto.sts.models import STSBackend

_SESSION_NAME = re.compile(r"[^\w+=,.@-]")


@dataclass(frozen=True)
class Principal:
    """A session of a role."""

    role: str
    """The role's name."""
    session: str


class Principals:
    """The sessions of one account."""

    def __init__(self, config: LocalAwsConfig) -> None:
        self._config = config
        self.airflow_role: Callable[[], str] = str
        """Answers the ARN of the role of the MWAA environment; empty while there is none."""
        self._lock = threading.Lock()
        self._known: dict[str, Principal] = {}
        self._given: dict[tuple[str, str], dict[str, str]] = {}

    def know(self, key: str) -> bool:
        """Whether an access key is one of this account: its own, Airflow's, a session's or an IAM user's."""
        if key in (self._config.access_key, self._config.airflow_key) or self.whose(key) is not None:
            return True
        users = list(self._iam().users.values())
        return any(one.access_key_id == key for user in users for one in user.access_keys)

    def whose(self, key: str) -> Principal | None:
        """The session that an access key belongs to; None for a key that belongs to no session."""
        if key == self._config.airflow_key:
            role = self.airflow_role()
            return Principal(_name(role), "airflow") if role else None
        if key not in self._known and key.startswith("ASIA"):
            session = self._sts().get_assumed_role_from_access_key(key)
            if session is not None:
                self._known[key] = Principal(_name(session.role_arn), session.session_name)
        return self._known.get(key)

    def variables(self, role_arn: str, session: str) -> dict[str, str]:
        """The environment variables of a process that works for a role; one session for each name."""
        with self._lock:
            if (role_arn, session) not in self._given:
                made = self._sts().assume_role(
                    region_name=self._config.region,
                    role_session_name=_SESSION_NAME.sub("-", session)[:64],
                    role_arn=role_arn,
                    policy="",
                    duration=43200,
                    external_id="",
                )
                self._given[role_arn, session] = {
                    "AWS_ACCESS_KEY_ID": made.access_key_id,
                    "AWS_SECRET_ACCESS_KEY": made.secret_access_key,
                    "AWS_SESSION_TOKEN": made.session_token,
                }
            return dict(self._given[role_arn, session])

    def arn(self, caller: Principal | None) -> str:
        """As messages of AWS name a caller."""
        account = self._config.account
        if caller is None:
            return f"arn:aws:iam::{account}:root"
        return f"arn:aws:sts::{account}:assumed-role/{caller.role}/{caller.session}"

    def ensure_role(self, role_arn: str, *services: str) -> None:
        """Make a role that services may take and that may do everything, unless it is there.

        For what the stack plays without Terraform: its own Airflow is an environment that nobody applied.
        """
        with self._lock:
            iam = self._iam()
            if trust.find_role(iam, role_arn) is not None:
                return
            name, principal = _name(role_arn), {"Service": list(services)}
            iam.create_role(
                role_name=name,
                assume_role_policy_document=_policy({"Principal": principal, "Action": "sts:AssumeRole"}),
                path="/",
                permissions_boundary=None,
                description="Made by the local stack",
                tags=[],
                max_session_duration="43200",
            )
            iam.put_role_policy(name, "everything", _policy({"Action": "*", "Resource": "*"}))

    def trusted(self, role_arn: str, service: str) -> bool:
        """Whether there is such a role in this account, and a service may take it."""
        role = trust.find_role(self._iam(), role_arn)
        return role is not None and trust.admits_service(role, service, self._config.account)

    def may_assume(self, role_arn: str, caller: Principal | None) -> bool:
        """Whether there is such a role in this account, and a caller may take it; None is a person."""
        iam, account = self._iam(), self._config.account
        role = trust.find_role(iam, role_arn)
        own = next((one.arn for one in iam.roles.values() if caller and one.name == caller.role), "")
        return role is not None and trust.admits_caller(role, own, account)

    def policies(self, role: str) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]] | None:
        """A role's own policies, and its boundary as none or one; None when there is no such role."""
        iam = self._iam()
        found: Role | None = next((one for one in iam.roles.values() if one.name == role), None)
        if found is None:
            return None
        documents = [*found.policies.values(), *map(_document, found.managed_policies.values())]
        boundary = iam.managed_policies.get(found.permissions_boundary_arn or "")
        bounds = [_parsed(_document(boundary))] if boundary else []
        return [_parsed(document) for document in documents], bounds

    def _iam(self) -> IAMBackend:
        from moto.iam.models import iam_backends

        return iam_backends[self._config.account]["aws"]

    def _sts(self) -> STSBackend:
        from moto.sts.models import sts_backends

        return sts_backends[self._config.account]["aws"]


def _document(policy: ManagedPolicy) -> str:
    default = policy.default_version_id
    return next(str(one.document) for one in policy.versions if one.version_id == default)


@lru_cache
def _parsed(document: str) -> Mapping[str, Any]:
    policy: Mapping[str, Any] = json.loads(document)
    return policy


def _policy(statement: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]})


def _name(role_arn: str) -> str:
    return role_arn.rpartition("/")[2]
