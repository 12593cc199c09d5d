"""One local stack: where its parts answer, and whether they still run.

`stack.json` below the stack's home is written by the supervisor once its servers listen, completed by `up`
with what Terraform made, and removed by `down`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from mlops.base.errors import LocalStackError
from mlops.base.strict_json import dumps, loads
from mlops_local.airflow.environment import PASSWORDS
from mlops_local.base import paths
from mlops_local.base.config import ACCESS_KEY
from mlops_local.base.environment import QUICK
from mlops_local.base.places import Places

TEMPLATES_PROJECT = "platform/ml-ops"
FILE = "stack.json"
SNAPSHOT = "account.snapshot"

Engine = Literal["docker", "process"]

_OF_THE_MACHINE = ("MLOPS_BUILD_ARGS", "MLOPS_BUILD_NETWORK")


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A running stack. Ports are on 127.0.0.1."""

    name: str
    home: str
    engine: Engine
    pid: int
    """The supervisor; it leads the process group of the servers."""
    started: float
    """The supervisor's start, seconds since the epoch: with the pid it names one process."""
    aws_port: int
    gitlab_port: int
    airflow_port: int
    runs: str = ""
    """Where its pipelines run; by default a folder of its home."""
    environment_name: str = QUICK
    """Which of `terraform/environments` it plays."""
    region: str = "eu-west-1"
    access_key: str = ACCESS_KEY
    """The ID of the account's own access key: what a person of this stack calls AWS with."""
    snapshot: str = ""
    """The key of the snapshot that the account began with; empty if it began empty."""
    outputs: dict[str, str] = field(default_factory=dict)
    """What Terraform made; empty until `up` is done."""

    @property
    def folder(self) -> Path:
        """The stack's home."""
        return Path(self.home)

    @property
    def runs_folder(self) -> Path:
        """The folder with one folder a pipeline."""
        return Path(self.runs) if self.runs else self.folder / "runs"

    @property
    def aws_endpoint(self) -> str:
        """Where every AWS API answers."""
        return f"http://127.0.0.1:{self.aws_port}"

    @property
    def gitlab_url(self) -> str:
        """Where git and GitLab's API answer."""
        return f"http://127.0.0.1:{self.gitlab_port}"

    @property
    def airflow_url(self) -> str:
        """Airflow's web server; only the local MWAA talks to it, and people."""
        return f"http://127.0.0.1:{self.airflow_port}"

    @property
    def places(self) -> Places:
        """What its account and Terraform's state may name of it."""
        ports = {"gitlab_port": self.gitlab_port, "airflow_port": self.airflow_port}
        return Places.of(self.folder, aws_port=self.aws_port, **ports)

    @property
    def airflow_passwords(self) -> Path:
        """The file with the password of Airflow's one user, as JSON: user to password."""
        return self.folder / "airflow" / PASSWORDS

    def addresses(self) -> str:
        """Where a person finds the parts, a line each."""
        return (
            f"  GitLab    {self.gitlab_url}\n"
            f"  AWS       {self.aws_endpoint}\n"
            f"  Airflow   {self.airflow_url}\n"
            f"            user and password: {self.airflow_passwords}"
        )

    def environment(self) -> dict[str, str]:
        """What a GitLab runner with access to this account would give to its jobs."""
        return {
            **aws_environment(self.aws_endpoint, self.region, self.access_key),
            "MLOPS_ENGINE": self.engine,
            "MLOPS_REGISTRY": f"127.0.0.1:{self.aws_port}",
            # A machine that cannot pull the usual base image says so in its own environment.
            **{name: os.environ[name] for name in _OF_THE_MACHINE if name in os.environ},
        }

    def running(self) -> bool:
        """Whether the supervisor is alive; a pid that was given to another process does not count."""
        import psutil

        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.started) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def save(self) -> None:
        """Write stack.json in one step."""
        draft = self.folder / (FILE + ".part")
        draft.touch(mode=0o600)  # it holds the key
        draft.write_text(dumps(self), encoding="utf-8")
        draft.replace(self.folder / FILE)

    def completed(self, outputs: dict[str, str]) -> Stack:
        """This stack with what Terraform made."""
        return replace(self, outputs=outputs)


def aws_environment(endpoint: str, region: str, access_key: str = ACCESS_KEY) -> dict[str, str]:
    """The variables that point AWS's own SDKs at the local endpoint, and nowhere else."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        # Terraform's S3 backend looks at this one alone when it takes a role by a token.
        "AWS_ENDPOINT_URL_STS": endpoint,
        # MWAA's calls go to api.<endpoint> and env.<endpoint> otherwise, which an address cannot have.
        "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def find(name: str) -> Stack | None:
    """The stack of that name, running or not; None when there is none."""
    file = paths.home(name) / FILE
    return loads(Stack, file.read_bytes(), str(file)) if file.exists() else None


def require(name: str) -> Stack:
    """The running stack of that name.

    Raises:
        LocalStackError: when it is not up.
    """
    stack = find(name)
    if stack is None or not stack.running() or not stack.outputs:
        option = "" if name == "default" else f" --name {name}"
        raise LocalStackError(f"The local stack '{name}' is not up", next_step=f"Run: mlops local{option} up")
    return stack


def names() -> Iterator[str]:
    """The stacks of this checkout that have a stack.json."""
    for file in sorted(paths.stacks().glob(f"*/{FILE}")):
        yield file.parent.name
