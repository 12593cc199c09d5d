"""A clone in which a person calls `mlops terraform` against a local AWS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import provider
from .conftest import REGION, LocalAws

ACCOUNT = "123456789012"
STATE = f"ml-ops-terraform-state-{ACCOUNT}"

# What only the local AWS needs.
BACKEND = """
use_path_style              = true
skip_credentials_validation = true
skip_metadata_api_check     = true
"""

# The provider of a root, which has its settings from the environment: a block of them would be checked once more
# by every plan, for two seconds of computing.
AWS_PROVIDER = """
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "5.100.0"
    }
  }
}
"""


@dataclass(frozen=True)
class Done:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Everything, in one line: cause and next step have several."""
        return " ".join((self.out + self.err).split())


@dataclass(frozen=True)
class Checkout:
    """A clone with a folder `terraform`, in which a person calls the command."""

    folder: Path
    aws: LocalAws
    attachment: Mapping[str, str] = field(default_factory=dict)
    """The variables that attach Terraform to a provider that runs; without them it starts its own."""

    @contextmanager
    def attached(self, binary: Path) -> Iterator[Checkout]:
        """The same clone, with a provider that runs."""
        log = self.folder.with_name(f"{self.folder.name}-provider.log")
        # the region that the command gives Terraform, it would give to a provider too
        with provider.running(binary, log, self.variables(AWS_REGION=REGION)) as attachment:
            yield replace(self, attachment=attachment)

    def variables(self, **more: str) -> dict[str, str]:
        kept = {
            name: os.environ[name] for name in ("PATH", "HOME", "TF_CLI_CONFIG_FILE") if name in os.environ
        }
        return kept | {
            "AWS_ENDPOINT_URL": self.aws.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            # another one than the environment's, which must win
            "AWS_REGION": "us-west-2",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": "127.0.0.1,localhost",
            **self.attachment,
            **more,
        }

    def start(self, *words: str, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "mlops.cli", "terraform", *words],
            cwd=self.folder,
            env=self.variables(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def mlops(self, *words: str, **more: str) -> Done:
        with self.start(*words, **more) as process:
            out, err = process.communicate(timeout=300)
        return Done(process.returncode, out, err)

    def out(self, name: str, environment: str = "quick") -> Path:
        return self.folder / "terraform-plan" / environment / name

    def environment(self, name: str, **values: object) -> None:
        """Write or change an environment: its values are the defaults and `values`."""
        folder = self.folder / "terraform" / "environments" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "backend.hcl").write_text(f'bucket = "{STATE}"\nregion = "{REGION}"\n{BACKEND}')
        given = {"environment": name, "account_id": ACCOUNT, "region": REGION} | values
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in given.items()]
        (folder / "values.tfvars").write_text("# An environment.\n" + "".join(lines))

    def commit(self, message: str) -> None:
        git = ["git", "-c", "user.name=a", "-c", "user.email=a@localhost"]
        subprocess.run([*git, "add", "--all", "terraform"], cwd=self.folder, check=True)
        subprocess.run(
            [*git, "commit", "--quiet", "--allow-empty", "-m", message], cwd=self.folder, check=True
        )
