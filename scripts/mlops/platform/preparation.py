"""Terraform made ready for an environment: credentials checked, packages built, root initialised."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.base import console

if TYPE_CHECKING:
    from mlops.clients.terraform.program import Terraform
    from mlops.platform.environment import Environment

LAMBDA_PACKAGE = "dag-trigger.zip"
AIRFLOW_PACKAGE = "airflow"

# Programs, downloads and Terraform's own data, beside what is checked in.
_HOME = Path(".mlops")
# They would send Terraform elsewhere than the files say.
_IGNORED = ("TF_WORKSPACE", "TF_DATA_DIR", "TF_INPUT", "TF_CLI_ARGS")


# pylint: disable-next=too-many-arguments
def client(
    root: Path,
    log: Path,
    *,
    data: Path,
    values: tuple[Path, ...] = (),
    timeout: float = 600,
    lock_timeout: int = 0,
    report: Callable[[str], None] | None = None,
) -> Terraform:
    """Terraform for a root, with this process's credentials.

    Args:
        root: The folder it runs in.
        log: Where the output of its commands goes.
        data: Where it keeps modules and providers, outside of what is checked in.
        values: Files of values.
    """
    from mlops.clients.terraform.program import Terraform, find_terraform

    log.parent.mkdir(parents=True, exist_ok=True)
    # The provider reads a large schema each time it starts: a third less CPU for it.
    kept = {"GOGC": "400"} | {
        name: value for name, value in os.environ.items() if not name.startswith(_IGNORED)
    }
    return Terraform(
        program=find_terraform(_HOME / "bin").resolve(),
        folder=root,
        environment={**kept, "TF_DATA_DIR": str(data.resolve())},
        var_files=[file.resolve() for file in values],
        log=log,
        timeout=timeout,
        lock_timeout=lock_timeout,
        report=report,
    )


def data_folder(environment: Environment, part: str = "root") -> Path:
    """Where Terraform keeps what it fetched for this environment."""
    return _HOME / "terraform" / environment.name / part


def check(environment: Environment, *, state: bool) -> None:
    """Whether we may work on this environment at all.

    Args:
        state: Whether its state must be there.

    Raises:
        AuthenticationError: when the credentials do not work, or belong to another account.
        StateUnreachableError: when the state cannot be reached.
    """
    from mlops.clients.aws import session
    from mlops.platform import account

    with session.explained():
        who = account.check_account(environment, session.client("sts"))
        if state:
            account.check_state(environment, session.client("s3"))
    console.say(f"{environment.name}: account {environment.account_id}, {environment.region}, as {who}")


def packages(environment: Environment, folder: Path) -> dict[str, str]:
    """Build what the root uploads into `folder`, and return the values that name it.

    Raises:
        PrerequisiteError: when this is not a checkout, or a wheel cannot be fetched.
    """
    from mlops.platform import lambda_package

    with console.section("Packages"):
        found = {"dag_trigger_package": lambda_package.build(folder / LAMBDA_PACKAGE)}
        if environment.has_airflow:
            from mlops.platform import airflow_package

            found["airflow_package"] = airflow_package.build(folder / AIRFLOW_PACKAGE)
    return {name: str(environment.from_root(path)) for name, path in found.items()}


def ready(environment: Environment, timeout: float, lock_timeout: int) -> Terraform:
    """The environment's root, initialised with its state.

    Raises:
        StateUnreachableError: when the state cannot be reached.
        PrerequisiteError: when Terraform or its provider cannot be fetched.
    """
    terraform = client(
        environment.root,
        environment.out / "terraform.log",
        data=data_folder(environment),
        values=(environment.values,),
        timeout=timeout,
        lock_timeout=lock_timeout,
        report=console.say,
    )
    with console.section("terraform init"):
        # The versions that were tested; Terraform checks their hashes, and adds none to what is checked in.
        terraform.initialise(environment.from_root(environment.backend), lockfile="readonly")
    return terraform


def carry_out(environment: Environment, terraform: Terraform, file: Path) -> None:
    """Apply a plan file, and report what holds if it is stopped."""
    try:
        with console.section("terraform apply"):
            terraform.apply_plan(file)
    except KeyboardInterrupt:
        console.warn(
            f"The apply was stopped. Terraform ended the step it was at: what was done is in the state of"
            f" {environment.name}, and nothing is locked. Plan and apply again, and it goes on from there."
        )
        raise
