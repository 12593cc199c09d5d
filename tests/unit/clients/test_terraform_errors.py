"""What Terraform said, and what a person is told. The texts are Terraform 1.11's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.base.errors import (
    AuthenticationError,
    MlopsError,
    PlanOutdatedError,
    PrerequisiteError,
    StateLockedError,
    StateUnreachableError,
    TerraformError,
)
from mlops.clients.terraform.errors import explain

LOCKED = """
Error: Error acquiring the state lock

Error message: operation error S3: PutObject, https response error
StatusCode: 412, api error PreconditionFailed: At least one of the pre-conditions you
specified did not hold
Lock Info:
  ID:        8d1a5a39-6c4c-4f0e-9b0f-0f1f0c9e7f10
  Path:      bucket/ml-ops/terraform.tfstate
  Operation: OperationTypePlan
  Who:       ann@laptop
  Version:   1.11.4
  Created:   2026-01-02 03:04:05.678 +0000 UTC
  Info:

Terraform acquires a state lock to protect the state from being written
"""

TEXTS: list[tuple[str, type[MlopsError], str]] = [
    (
        "Error: Saved plan is stale\n\nThe given plan file can no longer be applied",
        PlanOutdatedError,
        "The plan is stale: nothing was changed",
    ),
    (
        "Error: AWS account ID not allowed: 123456789012\n",
        AuthenticationError,
        "The credentials belong to another AWS account",
    ),
    (
        'Error: Failed to get existing workspaces: S3 bucket "x" does not exist.',
        StateUnreachableError,
        "Terraform's state cannot be reached",
    ),
    (
        "Error: Error acquiring the state lock\n\nError message: api error AccessDenied",
        StateUnreachableError,
        "Terraform's state cannot be reached",
    ),
    (
        "Error: Error loading state: Unable to access object",
        StateUnreachableError,
        "Terraform's state cannot be reached",
    ),
    (
        "Error: Failed to query available provider packages\n\nCould not retrieve the list",
        PrerequisiteError,
        "Terraform's provider cannot be fetched",
    ),
    (
        'Error: Failed to persist state to backend\n\nhas been written to the file "errored.tfstate"',
        TerraformError,
        "Terraform could not save the state",
    ),
    (
        "Error: deleting ECR Repository: RepositoryNotEmptyException",
        TerraformError,
        "terraform apply failed",
    ),
    ("Error: creating Lambda Function: quota", TerraformError, "terraform apply failed"),
]


@pytest.mark.parametrize(("text", "kind", "what"), TEXTS)
def test_terraforms_words_become_an_error_of_their_kind(text: str, kind: type[MlopsError], what: str) -> None:
    error = explain("apply", text, Path("log"), Path("root"), Path("backend.hcl"))
    assert error.exit_code == kind.exit_code
    assert error.what == what
    assert error.cause.startswith("Error: ")
    assert error.next_step
    assert error.link == "log"


def test_a_lock_says_who_and_how_to_open_it() -> None:
    error = explain(
        "plan", LOCKED, Path("log"), Path("terraform/root"), Path("../environments/dev/backend.hcl")
    )
    assert isinstance(error, StateLockedError)
    assert error.cause == "ann@laptop holds it for a plan since 2026-01-02 03:04:05.678 +0000 UTC"
    assert error.next_step.endswith(
        "cd terraform/root && terraform init -reconfigure -backend-config=../environments/dev/backend.hcl"
        " && terraform force-unlock -force 8d1a5a39-6c4c-4f0e-9b0f-0f1f0c9e7f10"
    )


def test_a_state_that_could_not_be_saved_is_not_lost() -> None:
    error = explain("apply", 'Error: x\n"errored.tfstate"', Path("log"), Path("terraform/root"), None)
    assert "Keep terraform/root/errored.tfstate" in error.next_step
    assert "terraform state push errored.tfstate" in error.next_step


def test_colours_and_frames_are_left_out() -> None:
    red, plain = "\x1b[31m", "\x1b[0m"
    text = f"{red}{red}╷{plain}\n{red}│{plain} {red}Error: {plain}{plain}Invalid{plain}\n"
    error = explain("console", text, Path("log"), Path("root"), None)
    assert error.cause == "Error: Invalid"
