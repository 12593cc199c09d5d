"""One environment, as the files of its folder describe it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mlops.base.errors import SettingsError, TerraformError, UsageError


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What its folder says."""

    name: str
    directory: Path
    """With `root`, `modules`, `environments` and `bootstrap`."""
    out: Path
    """Where its plan lies."""
    account_id: str
    region: str
    bucket: str
    """Of Terraform's state."""
    bucket_region: str
    disposable: bool
    has_airflow: bool
    """Whether Terraform makes the MWAA environment, and so needs its package."""
    prefix: str
    """What the names of all resources begin with."""

    @property
    def root(self) -> Path:
        return self.directory / "root"

    @property
    def values(self) -> Path:
        return self.directory / "environments" / self.name / "values.tfvars"

    @property
    def backend(self) -> Path:
        return self.directory / "environments" / self.name / "backend.hcl"

    def from_root(self, path: Path) -> Path:
        """A path as Terraform is given it: the same on every machine, because a plan file holds it."""
        return Path(os.path.relpath(path, self.root))


def find(directory: Path, name: str, out: str) -> Environment:
    """Read an environment's folder.

    Raises:
        UsageError: when there is none of that name, or it has no state of its own.
        SettingsError: when its files cannot be read, lack something or contradict each other.
    """
    folder = directory / "environments"
    names = sorted(path.parent.name for path in folder.glob("*/values.tfvars"))
    if not names:
        raise UsageError(
            f"There are no environments in {folder}",
            next_step="Run this in the checkout of the platform, or give --directory.",
        )
    if name not in names:
        near = get_close_matches(name, names, 1, 0.5)
        raise UsageError(
            f"There is no environment {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
            cause=f"{folder} has: {', '.join(names)}",
            next_step="Give one of these, or make a folder with values.tfvars and backend.hcl.",
        )
    values, backend = folder / name / "values.tfvars", folder / name / "backend.hcl"
    if not backend.is_file():
        raise UsageError(
            f"The environment {name!r} has no state of its own",
            cause=f"there is no {backend}",
            next_step="mlops local up applies the environment local; any other names bucket and region.",
        )
    given = _read(values, ("environment", "account_id", "region", "disposable", "airflow", "name"))
    state = _read(backend, ("bucket", "region"))
    for file, found, keys in (
        (values, given, ("account_id", "region")),
        (backend, state, ("bucket", "region")),
    ):
        for key in keys:
            if not isinstance(found[key], str):
                raise SettingsError(f"{file} does not say {key}", next_step=f'Add a line {key} = "…".')
    if given["environment"] != name:
        raise SettingsError(
            f"{values} describes another environment",
            cause=f"environment is {given['environment']!r}, the folder's name is {name!r}",
            next_step="Correct one of them: the wrong values would change the wrong environment.",
        )
    return Environment(
        name=name,
        directory=directory,
        out=Path(out or Path("terraform-plan") / name),
        account_id=given["account_id"],
        region=given["region"],
        bucket=state["bucket"],
        bucket_region=state["region"],
        disposable=bool(given["disposable"]),
        has_airflow=given["airflow"] is not None,
        prefix=given["name"] or "ml-ops",
    )


def _read(file: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """Values of a file of HCL, None if it has none; Terraform itself reads it."""
    import json
    from tempfile import TemporaryDirectory

    from mlops.platform.preparation import client

    with TemporaryDirectory() as scratch:
        root = Path(scratch)
        declared = {key: {"default": None} for key in keys}
        (root / "main.tf.json").write_text(json.dumps({"variable": declared}), encoding="utf-8")
        terraform = client(root, root / "terraform.log", data=root / "data")
        expression = ", ".join(f"{key} = var.{key}" for key in keys)
        try:
            found = terraform.evaluate(f"{{{expression}}}", file.resolve())
        except TerraformError as error:
            raise SettingsError(
                f"{file} cannot be read", cause=error.cause, next_step="Correct that line."
            ) from error
    return dict(found)
