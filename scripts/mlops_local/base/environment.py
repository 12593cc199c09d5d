"""The environments of `terraform/environments`, as the local stack plays them.

A stack plays one of them: the local AWS is its account, in its region, and Terraform applies its values.
`local` leaves out what takes long to make; the others are whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mlops.base.errors import UsageError
from mlops_local.base import paths

QUICK = "local"
_VALUE = re.compile(r'^(account_id|region|airflow_environment)\s*=\s*"([^"]+)"', re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class LocalEnvironment:
    """What the local stack has to know of an environment before Terraform reads its values."""

    name: str
    account: str
    region: str
    airflow_environment: str
    """The name of its MWAA environment."""
    values: Path
    """Its values, as `terraform -var-file` takes them."""

    @property
    def whole(self) -> bool:
        """Whether Terraform makes everything, MWAA's environment, roles and network included."""
        return self.name != QUICK


def find_environment(name: str, folder: Path | None = None) -> LocalEnvironment:
    """The environment of that name.

    Args:
        folder: With a folder an environment; by default that of this checkout.

    Raises:
        UsageError: when there is none, or its account or region is missing.
    """
    environments = folder or paths.checkout() / "terraform" / "environments"
    known = sorted(file.parent.name for file in environments.glob("*/values.tfvars"))
    if name not in known:
        raise UsageError(
            f"There is no environment '{name}'", next_step=f"Those there are: {', '.join(known)}"
        )
    file = environments / name / "values.tfvars"
    values = dict(_VALUE.findall(file.read_text(encoding="utf-8")))
    missing = {"account_id", "region"} - set(values)
    if missing:
        raise UsageError(f"{file} does not set {' and '.join(sorted(missing))}")
    return LocalEnvironment(
        name=name,
        account=values["account_id"],
        region=values["region"],
        airflow_environment=values.get("airflow_environment", f"ml-ops-{name}"),
        values=file,
    )
