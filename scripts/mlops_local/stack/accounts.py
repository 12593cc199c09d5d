"""The account of a stack that starts: from a snapshot, or made by Terraform, which leaves a snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from mlops.base import console
from mlops.platform import lambda_package
from mlops_local.base import places, snapshots
from mlops_local.base.environment import LocalEnvironment
from mlops_local.stack import terraform
from mlops_local.stack.stack import SNAPSHOT

if TYPE_CHECKING:
    from mlops_local.stack.stack import Stack

# Longer than a whole environment takes. Another process that makes the same is waited for no longer.
_SECONDS = 600
# Writing takes a second or two of computing; a machine may have much else to do.
_WRITE_SECONDS = 300.0
# Where people find runs and logs on this machine.
_LINKS = {
    "airflow_url": f"http://{places.AIRFLOW}",
    "log_group_url": f"http://{places.AWS}/_mlops/logs?group={{group}}&stream={{stream}}",
}


@dataclass(kw_only=True)
class Account:
    """What a stack's account will be."""

    home: Path
    """Of the stack."""
    environment: LocalEnvironment
    models: terraform.Models | None = None
    """As `terraform.apply` takes them."""
    packages: dict[str, Path] = field(init=False)
    key: str = field(init=False)
    snapshot: snapshots.Snapshot | None = field(init=False, default=None)
    """What the local AWS is to begin with; None if Terraform is to make it."""

    def __post_init__(self) -> None:
        package = lambda_package.build(self.home / "dag-trigger.zip")
        self.packages = terraform.packages(self.home / "terraform", package, self.environment)
        self.key = self._key()

    def outputs(self, stack: Stack) -> dict[str, Any]:
        """Terraform's outputs, once there is what they name.

        Raises:
            TerraformError: when an apply fails.
        """
        links = {name: stack.places.fill(link) for name, link in _LINKS.items()}
        folder = self.home / "terraform"
        if self.snapshot is not None and stack.snapshot == self.key:
            terraform.write_values(folder, self.packages, self.models, links, self.environment)
            return terraform.restore(folder, stack.places.fill(self.snapshot.state))
        if self.snapshot is not None:
            self.snapshot = None
            console.warn("The snapshot of the account cannot be read, so Terraform makes the account anew")
        outputs = terraform.apply(
            folder,
            stack.aws_endpoint,
            self.packages["dag_trigger_package"],
            self.models,
            links=links,
            environment=self.environment,
            gitlab_url=stack.gitlab_url,
            access_key=stack.access_key,
        )
        try:
            self._keep(stack)
        except (OSError, HTTPException, ValueError) as error:
            console.warn(f"No snapshot of the account was kept, so a next stack takes as long: {error}")
        return outputs

    def _keep(self, stack: Stack) -> None:
        """Leave a snapshot, unless what made the account was changed meanwhile."""
        request = Request(f"{stack.aws_endpoint}/_mlops/account", method="POST")  # noqa: S310  # our own loopback URL
        try:
            build_opener(ProxyHandler({})).open(request, timeout=_WRITE_SECONDS).close()
        except HTTPError as error:
            raise OSError(error.read().decode(errors="replace")) from error
        file = self.home / "aws" / "account"
        content = file.read_bytes()
        file.unlink()
        if self._key() == self.key:
            text = terraform.state(self.home / "terraform").read_text(encoding="utf-8")
            snapshots.keep(self.key, stack.places.mark(text), content)

    def _key(self) -> str:
        given = terraform.settings(self.environment, self.models, _LINKS)
        return snapshots.key(self.environment, self.packages, given)


@contextmanager
def begin(
    home: Path, environment: LocalEnvironment, models: terraform.Models | None = None, *, fresh: bool = False
) -> Iterator[Account]:
    """What the account of a stack will be; inside, its servers start, and `Account.outputs` is called.

    A snapshot that there is lies at `<home>/account.snapshot` then. While there is none, other stacks with
    the same account wait until this one has left it.
    """
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    account = Account(home=home, environment=environment, models=models)
    if not fresh:
        account.snapshot = snapshots.take(account.key, home / SNAPSHOT)
    if fresh or account.snapshot is not None:
        yield account
        return
    with snapshots.making(account.key, _SECONDS):
        account.snapshot = snapshots.take(account.key, home / SNAPSHOT)
        yield account
