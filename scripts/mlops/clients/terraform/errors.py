"""Terraform's words, and what each of them means for the person who reads them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from mlops.base.errors import (
    AuthenticationError,
    MlopsError,
    PlanOutdatedError,
    PrerequisiteError,
    StateLockedError,
    StateUnreachableError,
    TerraformError,
)

_CAUSE_LINES = 40
# Colours and frames, which `console` knows no option against.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_FRAME = re.compile(r"^[╷│╵] ?", re.MULTILINE)
_LOCK = re.compile(r"^\s+(ID|Operation|Who|Created):\s+(\S.*?)\s*$", re.MULTILINE)
_OPERATIONS = {
    "OperationTypePlan": "a plan",
    "OperationTypeApply": "an apply",
    "OperationTypeRefresh": "a refresh",
}


class _Meaning(NamedTuple):
    pattern: str
    kind: type[MlopsError]
    what: str
    """Empty for `terraform <command> failed`."""
    step: str


# The first that fits.
_MEANINGS = (
    _Meaning(
        "Saved plan is stale",
        PlanOutdatedError,
        "The plan is stale: nothing was changed",
        "Somebody changed the environment since. Plan again, review, and apply the new plan.",
    ),
    _Meaning(
        "AWS account ID not allowed",
        AuthenticationError,
        "The credentials belong to another AWS account",
        "Take a role of the account that values.tfvars names.",
    ),
    # Terraform could not write the state where it belongs, and wrote it beside the root.
    _Meaning(
        r"errored\.tfstate",
        TerraformError,
        "Terraform could not save the state",
        "Keep {root}/errored.tfstate: it says what was made. When the state can be reached again, run there:"
        " terraform state push errored.tfstate, then delete the file.",
    ),
    _Meaning(
        r"Failed to get existing workspaces|Error (?:re)?loading state|Error refreshing state"
        r"|Failed to load state|Error inspecting states|error loading the remote state"
        r"|Unable to access object .* in S3 bucket|Error acquiring the state lock",
        StateUnreachableError,
        "Terraform's state cannot be reached",
        "Check bucket and region in backend.hcl, and that the role may read and write that bucket.",
    ),
    _Meaning(
        r"Failed to query available provider packages|Failed to install provider"
        r"|Could not retrieve the list of available|Required plugins are not installed",
        PrerequisiteError,
        "Terraform's provider cannot be fetched",
        "Let this machine reach registry.terraform.io, or give it a mirror by TF_CLI_CONFIG_FILE:"
        " https://developer.hashicorp.com/terraform/cli/config/config-file#provider-installation",
    ),
    _Meaning(
        "BucketNotEmpty|RepositoryNotEmptyException",
        TerraformError,
        "",
        "Empty what Terraform names, when nobody needs it any more; then plan and apply again.",
    ),
)


def explain(command: str, text: str, log: Path, root: Path, backend: Path | None) -> MlopsError:
    """The error for what a command said.

    Args:
        command: Such as `plan`.
        text: What it wrote.
        log: Where the whole output is.
        root: The folder it ran in.
        backend: The file that says where its state lies.
    """
    if "Error acquiring the state lock" in text and "Lock Info:" in text:
        return _locked(text, log, root, backend)
    cause = _cause(text)
    for meaning in _MEANINGS:
        if re.search(meaning.pattern, " ".join(text.split())):
            what = meaning.what or f"terraform {command} failed"
            step = meaning.step.replace("{root}", str(root))
            return meaning.kind(what, cause=cause, next_step=step, link=str(log))
    step = "Mend the cause and run it again: Terraform goes on where it stopped."
    if command == "apply":
        step = (
            "What was done is in the state, and nothing is locked. Mend the cause, then plan and apply again:"
        )
        step += " Terraform goes on where it stopped."
    return TerraformError(f"terraform {command} failed", cause=cause, next_step=step, link=str(log))


def _locked(text: str, log: Path, root: Path, backend: Path | None) -> StateLockedError:
    lock = dict(_LOCK.findall(text[text.index("Lock Info:") :]))
    operation = _OPERATIONS.get(lock.get("Operation", ""), lock.get("Operation", "an operation"))
    where = "" if backend is None else f"terraform init -reconfigure -backend-config={backend} && "
    return StateLockedError(
        "Terraform's state is locked",
        cause=f"{lock.get('Who', 'somebody')} holds it for {operation} since {lock.get('Created', '?')}",
        next_step="Wait until that is over. Only when it is certain that it ended without unlocking:"
        f" cd {root} && {where}terraform force-unlock -force {lock.get('ID', 'ID')}",
        link=str(log),
    )


def _cause(text: str) -> str:
    """What Terraform says from its first `Error:` on, without the empty lines."""
    plain = _FRAME.sub("", _COLOUR.sub("", text))
    lines = [line.rstrip() for line in plain.splitlines() if line.strip()]
    first = next((number for number, line in enumerate(lines) if line.startswith("Error:")), 0)
    return "\n".join(lines[first : first + _CAUSE_LINES])
