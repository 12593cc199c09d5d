"""The inputs of every template, as its `spec:inputs` has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tools.reference.markdown import code, table


def inputs(folder: Path) -> dict[str, str]:
    """Return the table of inputs by the template's name; templates without inputs have none."""
    found = {}
    for file in sorted(folder.glob("*.yml")):
        header = next(iter(yaml.safe_load_all(file.read_text(encoding="utf-8"))))
        if "spec" in header:
            rows = [
                (code(name), _default(one), _meaning(one)) for name, one in header["spec"]["inputs"].items()
            ]
            found[f"inputs-of-{file.stem}"] = table(("input", "default", "meaning"), rows)
    return found


def _default(spec: Mapping[str, Any]) -> str:
    value = spec.get("default")
    if value is None:
        return "required"
    if isinstance(value, bool):
        return code(str(value).lower())
    if isinstance(value, list):
        services = [f"{one['name']} as {one['alias']}" for one in value if isinstance(one, dict)]
        return code(", ".join(services) if services else f"[{', '.join(map(str, value))}]")
    return code(str(value)) or "empty"


def _meaning(spec: Mapping[str, Any]) -> str:
    options = [code(one) for one in spec.get("options", [])]
    return str(spec["description"]) + (f" One of {', '.join(options)}." if options else "")
