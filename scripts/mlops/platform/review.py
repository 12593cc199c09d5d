"""What was reviewed: the plan file and packages an apply may use, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlops.base.errors import ContractError, PlanOutdatedError, SourceError
from mlops.base.strict_json import dumps, loads
from mlops.platform.environment import Environment
from mlops.platform.preparation import AIRFLOW_PACKAGE, LAMBDA_PACKAGE
from mlops.platform.terraform_plan import Plan, gitlab_report, markdown

PLAN_FILE = "plan.tfplan"
SUMMARY = "summary.md"
REPORT = "plan.json"
REVIEWED = "reviewed.json"


@dataclass(frozen=True, kw_only=True)
class Reviewed:
    """`reviewed.json`, beside the plan file."""

    schema_version: int = 1
    environment: str
    account_id: str
    commit: str
    """Empty if there is no git history."""
    created_at: str
    has_changes: bool
    files: dict[str, str]
    """SHA-256 of the plan file and of every file of the packages, by path from their folder."""
    versions: dict[str, str]
    """Of Terraform and its providers."""
    allow_replace: tuple[str, ...] = field(default=())


def write_reports(folder: Path, name: str, plan: Plan, notes: Sequence[str], text: str) -> None:
    """What people and GitLab read of a plan; of a refused one too.

    Args:
        text: What `terraform plan` wrote.
    """
    (folder / SUMMARY).write_text(markdown(name, plan, notes, text), encoding="utf-8")
    (folder / REPORT).write_text(json.dumps(gitlab_report(plan)) + "\n", encoding="utf-8")


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of all that an apply uses."""
    files = [folder / PLAN_FILE, folder / LAMBDA_PACKAGE, *sorted((folder / AIRFLOW_PACKAGE).rglob("*"))]
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.is_file()
    }


def commit(directory: Path) -> str:
    """The commit that is checked out; empty if there is no git history."""
    from mlops.clients.git.repository import Repository

    try:
        return Repository.open(directory).head
    except SourceError:
        return ""


def write(
    environment: Environment,
    *,
    created_at: str,
    has_changes: bool,
    versions: Mapping[str, str],
    allowed: tuple[str, ...],
) -> Reviewed:
    """Write down what was planned, for people to review and `read` to check."""
    reviewed = Reviewed(
        environment=environment.name,
        account_id=environment.account_id,
        commit=commit(environment.directory),
        created_at=created_at,
        has_changes=has_changes,
        files=digests(environment.out),
        versions=dict(versions),
        allow_replace=allowed,
    )
    (environment.out / REVIEWED).write_text(dumps(reviewed) + "\n", encoding="utf-8")
    return reviewed


def read(environment: Environment) -> Reviewed:
    """What was reviewed, when it is still what is here.

    Raises:
        PlanOutdatedError: when there is no plan, or it is for something else.
    """
    file = environment.out / REVIEWED
    again = f"Plan again, review, and apply the new plan: mlops terraform plan {environment.name}"
    try:
        reviewed = loads(Reviewed, file.read_bytes(), str(file))
    except FileNotFoundError as error:
        raise PlanOutdatedError(
            f"There is no reviewed plan of {environment.name}",
            cause=f"{environment.out} has no {REVIEWED}: nothing was planned, or the plan was refused",
            next_step=f"mlops terraform plan {environment.name}",
        ) from error
    except ContractError as error:
        raise PlanOutdatedError(error.what, cause=error.cause, next_step=again) from error
    if (reviewed.environment, reviewed.account_id) != (environment.name, environment.account_id):
        raise PlanOutdatedError(
            f"This is not a plan of {environment.name}",
            cause=f"{file} is of {reviewed.environment}, account {reviewed.account_id}",
            next_step=again,
        )
    here = commit(environment.directory)
    if reviewed.commit != here:
        raise PlanOutdatedError(
            "The plan was made by another commit than the one checked out",
            cause=f"planned at {reviewed.commit or 'no commit'}, checked out is {here or 'no commit'}",
            next_step=f"git checkout {reviewed.commit}, or plan again, review, and apply the new plan."
            if reviewed.commit
            else again,
        )
    found = digests(environment.out)
    if found != reviewed.files:
        changed = sorted(
            name for name in {*found, *reviewed.files} if found.get(name) != reviewed.files.get(name)
        )
        raise PlanOutdatedError(
            "The plan or its packages are not those that were reviewed",
            cause=f"changed, missing or new in {environment.out}: {', '.join(changed)}",
            next_step=again,
        )
    return reviewed
