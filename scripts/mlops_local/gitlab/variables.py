"""CI variables of a group: https://docs.gitlab.com/api/group_level_variables/

Pipelines of every project below the group get them; protected ones only on a protected ref.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlops_local.gitlab import records
from mlops_local.gitlab.api import Document, RefusedError

_KEY = re.compile(r"[A-Za-z0-9_]{1,255}")
_DEFAULTS: dict[str, Any] = {
    "variable_type": "env_var",
    "protected": False,
    "masked": False,
    "hidden": False,
    "raw": False,
    "environment_scope": "*",
    "description": None,
}


def list_variables(home: Path, group: str) -> list[Document]:
    """GET /groups/:id/variables"""
    return [variable for path, variable in _all(home) if path == group]


def create_variable(home: Path, group: str, body: Mapping[str, Any]) -> Document:
    """POST /groups/:id/variables"""
    key, value = str(body.get("key") or ""), body.get("value")
    if value is None:
        raise RefusedError(400, "value is missing")
    if not _KEY.fullmatch(key):
        raise RefusedError(400, "key is invalid")
    with records.edit(_file(home)) as known:
        if key in known.setdefault(group, {}):
            raise RefusedError(400, f"({key}) has already been taken")
        known[group][key] = {**_DEFAULTS, **_attributes(body), "key": key, "value": str(value)}
        return dict(known[group][key])


def update_variable(home: Path, group: str, key: str, body: Mapping[str, Any]) -> Document:
    """PUT /groups/:id/variables/:key"""
    with records.edit(_file(home)) as known:
        if key not in known.get(group, {}):
            raise RefusedError(404, "404 GroupVariable Not Found")
        changed = {**_attributes(body), **({"value": str(body["value"])} if "value" in body else {})}
        known[group][key] |= changed
        return dict(known[group][key])


def for_pipeline(home: Path, project: str, *, protected: bool) -> dict[str, str]:
    """What the groups above a project give its pipeline; the nearest group's word counts.

    Args:
        project: Its path, such as `models/phishing-url`.
        protected: Whether the pipeline runs for a protected ref.
    """
    above = [(path, variable) for path, variable in _all(home) if project.startswith(f"{path}/")]
    return {
        variable["key"]: variable["value"]
        for _, variable in sorted(above, key=lambda found: len(found[0]))
        if protected or not variable["protected"]
    }


def _all(home: Path) -> Iterator[tuple[str, Document]]:
    for group, variables in records.read(_file(home)).items():
        for variable in variables.values():
            yield group, variable


def _attributes(body: Mapping[str, Any]) -> Document:
    """Those of the request that GitLab knows; a form's words are made what they mean."""
    words = {"true": True, "false": False}
    return {name: words.get(str(body[name]).lower(), body[name]) for name in _DEFAULTS if name in body}


def _file(home: Path) -> Path:
    return home / "group-variables.json"
