"""Takes a whole environment down: only a disposable one, which serves nothing, at a name given twice."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from mlops.base import console
from mlops.base.errors import PlanRefusedError, UsageError
from mlops.base.result import Outcome
from mlops.platform import guards, preparation, terraform_plan
from mlops.platform.environment import Environment

# An attribute that must be true in the state, or AWS refuses to delete what is not empty, half-way.
_EMPTIED = {
    "aws_s3_bucket": "force_destroy",
    "aws_ecr_repository": "force_delete",
}


def destroy(environment: Environment, arguments: argparse.Namespace) -> Outcome:
    """Show what goes; with `--confirm` let it go.

    Raises:
        PlanRefusedError: when the environment is not disposable, or serves models.
        UsageError: when its name was not confirmed.
    """
    name = environment.name
    if not environment.disposable:
        raise _not_disposable(environment, f"{environment.values} does not say disposable = true")
    folder = preparation.data_folder(environment, "destroy")
    values = preparation.packages(environment, folder)
    terraform = preparation.ready(environment, arguments.timeout, arguments.lock_timeout)
    file = (folder / "destroy.tfplan").resolve()
    try:
        with console.section("terraform plan -destroy"):
            terraform.plan_to(file, var=values, destroy=True)
            document = terraform.describe(file)
        plan = terraform_plan.read(document)
        if not plan.changes:
            return Outcome(
                summary=f"✓ {name}: nothing to do, there is nothing", data=_data(environment, plan)
            )
        console.say(f"{terraform_plan.headline(name, plan)}\n\n{terraform_plan.table(plan)}\n")
        _refuse(environment, document)
        if arguments.confirm != name:
            raise UsageError(
                f"Destroying {name} needs its name once more",
                cause=f"--confirm is {arguments.confirm!r}"
                if arguments.confirm
                else "--confirm is not given",
                next_step=f"If all of the table may go: mlops terraform destroy {name} --confirm {name}",
            )
        _empty_registry(document)
        preparation.carry_out(environment, terraform, file)
    finally:
        file.unlink(missing_ok=True)
    return Outcome(
        summary=terraform_plan.done(name, plan),
        data=_data(environment, plan),
        next_steps=(f"the state's bucket {environment.bucket} stays, for the account's next environment",),
    )


def _refuse(environment: Environment, document: Mapping[str, Any]) -> None:
    from mlops.clients.aws import session

    repositories = [str(one["name"]) for one in terraform_plan.resources(document, "aws_ecr_repository")]
    with session.explained():
        what = f"Destroying {environment.name} would remove models"
        guards.refuse_deployed(session.client("sagemaker"), repositories, what)
    full = [
        str(one.get("id"))
        for kind, attribute in _EMPTIED.items()
        for one in terraform_plan.resources(document, kind)
        if not one.get(attribute)
    ]
    if full:
        cause = f"disposable = true is not applied yet to {', '.join(full)}"
        raise _not_disposable(environment, cause)


def _empty_registry(document: Mapping[str, Any]) -> None:
    """Versions that were registered since are not Terraform's, and keep their group."""
    from mlops.clients.aws import model_packages, session

    for group in terraform_plan.resources(document, "aws_sagemaker_model_package_group"):
        name = str(group["model_package_group_name"])
        with session.explained():
            count = model_packages.empty(session.client("sagemaker"), name)
        if count:
            console.say(f"- {count} versions of {name} removed from the model registry")


def _not_disposable(environment: Environment, cause: str) -> PlanRefusedError:
    name = environment.name
    return PlanRefusedError(
        f"{name} may not be destroyed",
        cause=cause,
        next_step=f"If its data, images and secrets may go: write disposable = true in {environment.values},"
        f" then mlops terraform plan {name}, apply {name}, and destroy {name} again.",
    )


def _data(environment: Environment, plan: terraform_plan.Plan) -> dict[str, Any]:
    return {"environment": environment.name, **terraform_plan.as_data(plan)}
