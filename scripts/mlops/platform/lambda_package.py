"""The zip of the Lambda `dag-trigger`: the same bytes from the same source.

So Terraform sees only real changes. Stored, not deflated: compressed bytes differ between versions of zlib.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from mlops.base.errors import PrerequisiteError

# The Lambda shares the contract with CI and DAGs; these need nothing but the standard library.
_SHARED = (
    "__init__",
    "base/__init__",
    "base/errors",
    "base/strict_json",
    "contracts/__init__",
    "contracts/runs",
)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold
_READABLE = 0o100644 << 16


def build(target: Path) -> Path:
    """Write the zip to `target` and return it. The handler is `handler.handler`.

    Raises:
        PrerequisiteError: when this is not a checkout of ml-ops, which alone holds the Lambda's source.
    """
    package = Path(__file__).parents[1]
    source = package.parent.parent / "lambda_trigger"
    members = {f"mlops/{name}.py": package / f"{name}.py" for name in _SHARED}
    members |= {path.name: path for path in source.glob("*.py")}
    if "handler.py" not in members:
        raise PrerequisiteError(
            "The source of the Lambda dag-trigger is missing",
            cause=f"{source} has no handler.py",
            next_step="Run this in a checkout of ml-ops; the installed package does not hold the Lambda.",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f"{target.name}.{os.getpid()}.part")
    with zipfile.ZipFile(draft, "w") as archive:
        for name in sorted(members):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = _READABLE
            archive.writestr(entry, members[name].read_bytes())
    draft.replace(target)
    return target
