"""States with the addresses that resources had once, made by undoing the `moved` blocks of Terraform's files."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TERRAFORM = Path(__file__).parents[3] / "terraform"
_SETTINGS = (
    "ownership_controls",
    "policy",
    "public_access_block",
    "server_side_encryption_configuration",
    "versioning",
)
_ALARMS = ("drift", "errors", "failed_runs", "imports", "latency", "memory", "scheduler", "unanswered")
KNOWN = {
    "bootstrap": {f"aws_s3_bucket_{setting}.state" for setting in _SETTINGS},
    "modules/airflow": {f"aws_s3_bucket_{setting}.this" for setting in _SETTINGS},
    "modules/observability": {f"aws_cloudwatch_metric_alarm.{alarm}" for alarm in _ALARMS},
    "modules/storage": {f"aws_s3_bucket_{setting}.this" for setting in _SETTINGS},
}
"""The old addresses, by folder. States with them exist, whatever the files declare."""

_MOVED = re.compile(r"^moved \{\n  from = (\S+)\n  to   = (\S+)\n\}$", re.MULTILINE)
# Of one instance of a resource, at the end of its address.
_KEY = re.compile(r"\[[^\]]+\]$")


def moves(folder: str) -> dict[str, str]:
    """The moves that `moved.tf` of a folder below `terraform` declares: the new address by the old one."""
    text = (TERRAFORM / folder / "moved.tf").read_text(encoding="utf-8")
    found = dict(_MOVED.findall(text))
    assert len(found) == text.count("moved {")
    return found


def undone(state: Mapping[str, Any], modules: Mapping[str, str]) -> dict[str, Any]:
    """The state as it was before the moves; every move must have a resource in it.

    Args:
        state: As `terraform state pull` gives it.
        modules: The folder of each module that has a `moved.tf`, by the module's address; that of the root is empty.
    """
    old = {
        _within(module, new): (module, before)
        for module, folder in modules.items()
        for before, new in moves(folder).items()
    }
    older: dict[str, Any] = copy.deepcopy(dict(state))
    found = set()
    for resource in older["resources"]:
        address = _address(resource)
        if address in old:
            found.add(address)
            resource["module"], before = old[address]
            resource["type"], resource["name"] = before.split(".")
    assert found == set(old), f"the state has no {set(old) - found}"
    # Terraform takes no other state of the same serial
    return older | {"serial": older["serial"] + 1, "resources": [_rooted(one) for one in older["resources"]]}


def made(plan: Mapping[str, Any]) -> dict[str, str]:
    """The moves in a plan of `terraform show -json`: the new address of each resource by the old one."""
    return {
        _KEY.sub("", one["previous_address"]): _KEY.sub("", one["address"])
        for one in plan["resource_changes"]
        if "previous_address" in one
    }


def expected(modules: Mapping[str, str]) -> dict[str, str]:
    """What `made` must return for a state that `undone` returned."""
    return {
        _within(module, before): _within(module, new)
        for module, folder in modules.items()
        for before, new in moves(folder).items()
    }


def changes(plan: Mapping[str, Any]) -> dict[str, list[str]]:
    """What the plan does to resources, apart from moving them."""
    planned = {
        one["address"]: one["change"]["actions"]
        for one in plan.get("resource_changes", ())
        if one["mode"] == "managed"
    }
    return {address: actions for address, actions in planned.items() if actions != ["no-op"]}


def addresses(state: Mapping[str, Any]) -> set[str]:
    """Of every resource in a state."""
    return {_address(resource) for resource in state["resources"]}


def _within(module: str, address: str) -> str:
    return f"{module}.{address}" if module else address


def _address(resource: Mapping[str, Any]) -> str:
    mode = "" if resource["mode"] == "managed" else "data."
    return _within(resource.get("module", ""), f"{mode}{resource['type']}.{resource['name']}")


def _rooted(resource: dict[str, Any]) -> dict[str, Any]:
    """A resource of the root module has no key `module`."""
    return {key: value for key, value in resource.items() if key != "module" or value}
