"""The bucket of an account's Terraform state, made by `terraform/bootstrap`, whose own state it then holds.

An administrator runs this once for each account. Stopped at any point, it goes on from there when run again.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.base import console
from mlops.base.errors import StateUnreachableError, UsageError
from mlops.base.result import Outcome
from mlops.platform import account, guards, preparation, terraform_plan
from mlops.platform.environment import Environment

if TYPE_CHECKING:
    from mlops.clients.terraform.program import Terraform

VALUES = "bootstrap.tfvars"
"""Beside values.tfvars, where the bucket has other values than the defaults, such as administrators."""
KEY = "ml-ops/bootstrap.tfstate"
_STATE = "terraform.tfstate"
_BACKEND = "backend_override.tf.json"


def bootstrap(environment: Environment, arguments: argparse.Namespace) -> Outcome:
    """Make the bucket, or what of it is missing.

    Raises:
        UsageError: when the checkout has no such root.
        StateUnreachableError: when there is a bucket of this name that was not made here.
        PlanRefusedError: when the bucket would have to be replaced.
    """
    from mlops.clients.aws import session

    with session.explained():
        there = account.state_bucket_exists(environment, session.client("s3"))
    home = preparation.data_folder(environment, "bootstrap").resolve()
    root = _copy(environment, home)
    terraform = preparation.client(
        root,
        environment.out / "terraform.log",
        data=home / "data",
        values=(more,) if (more := environment.values.with_name(VALUES)).is_file() else (),
        timeout=arguments.timeout,
        lock_timeout=arguments.lock_timeout,
        report=console.say,
    )
    # Between the bucket's creation and the move of the state into it, the state is here.
    kept = home / _STATE
    if there and not kept.exists():
        _use_bucket(root)
        terraform.initialise(environment.backend.resolve())
        if not terraform.stored_state().get("resources"):
            raise _not_ours(environment)
        plan = _apply(environment, terraform, home)
    else:
        _use_file(root, kept)
        terraform.initialise()
        plan = _apply(environment, terraform, home)
        _use_bucket(root)
        with console.section("Move the state into the bucket"):
            terraform.migrate(environment.backend.resolve())
        kept.unlink(missing_ok=True)
        kept.with_name(f"{_STATE}.backup").unlink(missing_ok=True)
    name = environment.name
    nothing = not plan.changes
    return Outcome(
        summary=f"✓ {name}: the state's bucket {environment.bucket} is there, nothing to do"
        if nothing
        else f"{terraform_plan.done(name, plan)}; the state's bucket is {environment.bucket}",
        data={"environment": name, "bucket": environment.bucket, **terraform_plan.as_data(plan)},
        next_steps=(f"mlops terraform plan {name}", f"mlops terraform apply {name}"),
    )


def _apply(environment: Environment, terraform: Terraform, home: Path) -> terraform_plan.Plan:
    values = {
        "bucket_name": environment.bucket,
        "account_id": environment.account_id,
        "region": environment.bucket_region,
        "name": environment.prefix,
    }
    file = home / "plan.tfplan"
    try:
        changed, _ = terraform.plan_to(file, var=values)
        plan = terraform_plan.read(terraform.describe(file))
        if plan.changes:
            console.say(
                f"{terraform_plan.headline(environment.name, plan)}\n\n{terraform_plan.table(plan)}\n"
            )
            guards.refuse_losses(plan, (), environment.name)
        if changed:  # a resource that only moved changes the state
            preparation.carry_out(environment, terraform, file)
        return plan
    finally:
        file.unlink(missing_ok=True)


def _copy(environment: Environment, home: Path) -> Path:
    """The root in a folder of its own, where its backend can be chosen."""
    source = environment.directory / "bootstrap"
    if not source.is_dir():
        raise UsageError(f"There is no {source}", next_step="Run this in the checkout of the platform.")
    home.mkdir(parents=True, exist_ok=True)
    ignored = shutil.ignore_patterns(".terraform", "tests")
    for part in ("bootstrap", "modules"):
        shutil.rmtree(home / part, ignore_errors=True)
        if (environment.directory / part).is_dir():
            shutil.copytree(environment.directory / part, home / part, ignore=ignored)
    return home / "bootstrap"


def _use_file(root: Path, state: Path) -> None:
    _override(root, {"local": {"path": str(state)}})


def _use_bucket(root: Path) -> None:
    _override(root, {"s3": {"key": KEY, "encrypt": True, "use_lockfile": True}})


def _override(root: Path, backend: dict[str, object]) -> None:
    document = json.dumps({"terraform": {"backend": backend}}, indent=2)
    (root / _BACKEND).write_text(document, encoding="utf-8")


def _not_ours(environment: Environment) -> StateUnreachableError:
    return StateUnreachableError(
        f"There is a bucket {environment.bucket}, but its {KEY} knows nothing of it",
        cause="somebody made it by hand, or removed that object",
        next_step=f"Give {environment.backend} a bucket that does not exist yet, or import this one into"
        f" {environment.directory / 'bootstrap'} by hand.",
    )
