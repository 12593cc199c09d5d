"""What a plan would do, as a table for people and as GitLab's report. Pure functions.

Read from `terraform show -json`: https://developer.hashicorp.com/terraform/internals/json-format
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Action = Literal["replace", "destroy", "forget", "change", "create"]

# What can lose something comes first.
ORDER: tuple[Action, ...] = ("replace", "destroy", "forget", "change", "create")
_PAST = {
    "replace": "replaced",
    "destroy": "destroyed",
    "forget": "forgotten",
    "change": "changed",
    "create": "created",
}
_ACTIONS: dict[tuple[str, ...], Action] = {
    ("create",): "create",
    ("update",): "change",
    ("delete",): "destroy",
    ("delete", "create"): "replace",
    ("create", "delete"): "replace",
    ("forget",): "forget",
}
# A longer value says less in a table than its attribute's name.
_VALUE_LIMIT = 24
_SHOWN = 5
_IDENTITY_LIMIT = 80
_BECAUSE = "because of "
_UNKNOWN = "(known after apply)"
_SENSITIVE = "(sensitive)"


@dataclass(frozen=True, kw_only=True)
class Change:
    """What happens to one resource.

    Attributes:
        details: The attributes that change, with their values where these are short and not sensitive; for
            what is replaced, those that cannot be changed in place come first.
        before: The resource as it is, sensitive values included: never to be shown.
    """

    action: Action
    address: str
    kind: str
    details: tuple[str, ...] = ()
    before: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything a plan would do, the dangerous first, then by address."""

    changes: tuple[Change, ...]
    outputs: tuple[str, ...] = ()
    """The names of outputs that change."""
    drift: tuple[str, ...] = ()
    """What was changed without Terraform, and the plan changes back."""

    def count(self, *actions: Action) -> int:
        return sum(change.action in actions for change in self.changes)


def read(document: Mapping[str, Any]) -> Plan:
    """The plan in a document of `terraform show -json`."""
    return Plan(
        changes=_changes(document.get("resource_changes", ())),
        outputs=tuple(
            sorted(
                name
                for name, change in document.get("output_changes", {}).items()
                if change["actions"] != ["no-op"]
            )
        ),
        drift=_drift(document),
    )


def headline(name: str, plan: Plan) -> str:
    """The counts in one line."""
    counts = [f"{plan.count(action)} to {action}" for action in ORDER if plan.count(action)]
    if counts:
        return f"{name}: {', '.join(counts)}"
    if plan.outputs:
        return f"{name}: only outputs change ({', '.join(plan.outputs)})"
    return f"{name}: no changes"


def done(name: str, plan: Plan) -> str:
    """The counts in one line, once all is done."""
    counts = [f"{plan.count(action)} {_PAST[action]}" for action in ORDER if plan.count(action)]
    return f"✓ {name}: {', '.join(counts) or 'nothing to do'}"


def table(plan: Plan) -> str:
    """A line for each resource."""
    from tabulate import tabulate

    rows = [(_loud(change.action), change.address, _short(change.details)) for change in plan.changes]
    return tabulate(rows, headers=("action", "resource", "what"), tablefmt="simple", disable_numparse=True)


def markdown(name: str, plan: Plan, notes: Sequence[str], text: str) -> str:
    """The summary of a plan: counts, table and notes; Terraform's own words folded away.

    Args:
        text: What `terraform plan` wrote; it masks sensitive values itself.
    """
    parts = [f"## Terraform plan: {_inline(headline(name, plan))}", ""]
    if plan.changes:
        parts += ["| action | resource | what |", "|---|---|---|"]
        for change in plan.changes:
            loud = f"**{change.action}**" if change.action in ("replace", "destroy") else change.action
            parts.append(f"| {loud} | `{_inline(change.address)}` | {_cell(_short(change.details))} |")
        parts.append("")
    parts += [f"- {_cell(note)}" for note in notes] + ([""] if notes else [])
    if text.strip():
        fence = "`" * 4
        while fence in text:
            fence += "`"
        parts += ["<details>", "<summary>Terraform's own words</summary>", "", fence, text.strip(), fence, ""]
        parts += ["</details>", ""]
    return "\n".join(parts)


def gitlab_report(plan: Plan) -> dict[str, int]:
    """The counts for the widget of a merge request; a replacement is one creation and one deletion.

    https://docs.gitlab.com/user/infrastructure/iac/mr_integration/
    """
    return {
        "create": plan.count("create", "replace"),
        "update": plan.count("change"),
        "delete": plan.count("destroy", "replace"),
    }


def as_data(plan: Plan) -> dict[str, Any]:
    """Everything for `--json`, without secret values."""
    return {
        "changes": [
            {
                "action": change.action,
                "address": change.address,
                "type": change.kind,
                "details": list(change.details),
            }
            for change in plan.changes
        ],
        "counts": {action: plan.count(action) for action in ORDER},
        "outputs": list(plan.outputs),
        "drift": list(plan.drift),
    }


def shown_outputs(state: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs in a state, without the values of sensitive ones."""
    return {
        name: "(sensitive)" if output.get("sensitive") else output["value"]
        for name, output in state.get("outputs", {}).items()
    }


def values_table(outputs: Mapping[str, Any]) -> str:
    """Outputs, a line for each; what has parts as JSON."""
    import json

    from tabulate import tabulate

    rows = [
        (name, value if isinstance(value, str) else json.dumps(value, sort_keys=True))
        for name, value in sorted(outputs.items())
    ]
    return tabulate(rows, headers=("output", "value"), tablefmt="simple", disable_numparse=True)


def resources(document: Mapping[str, Any], kind: str) -> Iterator[Mapping[str, Any]]:
    """The attributes of every resource of a type that was there when the plan was made."""
    modules = [document.get("prior_state", {}).get("values", {}).get("root_module", {})]
    while modules:
        module = modules.pop()
        modules += module.get("child_modules", ())
        for resource in module.get("resources", ()):
            if resource["type"] == kind and resource["mode"] == "managed":
                yield resource["values"]


def _changes(entries: Sequence[Mapping[str, Any]]) -> tuple[Change, ...]:
    found = [_change(entry) for entry in entries if entry.get("mode", "managed") == "managed"]
    changes = [change for change in found if change is not None]
    return tuple(sorted(changes, key=lambda change: (ORDER.index(change.action), change.address)))


def _drift(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Only what the plan is about: a refresh also finds empty values written in another way."""
    plan = {change.address: change for change in _changes(document.get("resource_changes", ()))}
    notes = []
    for drift in _changes(document.get("resource_drift", ())):
        change = plan.get(drift.address)
        if change is None:
            continue
        if drift.action == "destroy":
            notes.append(f"{drift.address} was deleted without Terraform")
            continue
        both = sorted(_names(drift) & _names(change))
        if both:
            notes.append(f"{drift.address} was changed without Terraform: {', '.join(both)}")
    return tuple(notes)


def _names(change: Change) -> set[str]:
    return {detail.removeprefix(_BECAUSE).partition(":")[0] for detail in change.details}


def _change(entry: Mapping[str, Any]) -> Change | None:
    change = entry["change"]
    action = _ACTIONS.get(tuple(change["actions"]))
    if action is None:  # no-op, or a data source that is read
        return None
    details: list[str] = []
    if action in ("change", "replace"):
        details = list(_attributes(change))
        forced = [str(path[0]) for path in change.get("replace_paths", ()) if path]
        details.sort(key=lambda detail: detail.partition(":")[0] not in forced)
        if forced:
            details[:1] = [f"{_BECAUSE}{details[0] if details else forced[0]}"]
    elif action in ("destroy", "forget") and not _hidden(change.get("before_sensitive"), "id"):
        identity = (change.get("before") or {}).get("id")
        details = [identity[:_IDENTITY_LIMIT]] if isinstance(identity, str) else []
    return Change(
        action=action,
        address=entry["address"],
        kind=entry["type"],
        details=tuple(details),
        before=change.get("before") or {},
    )


def _attributes(change: Mapping[str, Any]) -> Iterator[str]:
    before, after = change.get("before") or {}, change.get("after") or {}
    unknown = change.get("after_unknown") or {}
    for name in sorted({*before, *after, *unknown}):
        fresh = bool(_any(unknown.get(name)))
        if not fresh and before.get(name) == after.get(name):
            continue
        if _hidden(change.get("before_sensitive"), name) or _hidden(change.get("after_sensitive"), name):
            yield f"{name}: {_SENSITIVE}"
            continue
        old, new = _value(before.get(name)), _UNKNOWN if fresh else _value(after.get(name))
        yield f"{name}: {old} → {new}" if old and new else name


def _any(marks: object) -> bool:
    """Whether any value is marked in what mirrors the shape of the values."""
    if isinstance(marks, Mapping):
        return any(map(_any, marks.values()))
    if isinstance(marks, list):
        return any(map(_any, marks))
    return bool(marks)


def _hidden(marks: object, name: str) -> bool:
    return marks is True or (isinstance(marks, Mapping) and _any(marks.get(name)))


def _value(value: object) -> str:
    """As a table shows it; empty for what is long or has parts."""
    if value is None:
        return "none"
    if isinstance(value, (Mapping, list)):
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= _VALUE_LIMIT and "\n" not in text else ""


def _short(details: Sequence[str]) -> str:
    shown = ", ".join(details[:_SHOWN])
    return shown if len(details) <= _SHOWN else f"{shown}, and {len(details) - _SHOWN} more"


def _loud(action: Action) -> str:
    return action.upper() if action in ("replace", "destroy") else action


def _inline(text: str) -> str:
    return text.replace("`", "'").replace("|", "\\|").replace("\n", " ")


def _cell(text: str) -> str:
    cleaned = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")
    return cleaned.replace("|", "\\|").replace("`", "'").replace("@", "&#64;")
