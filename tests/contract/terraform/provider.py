"""Terraform's provider as a process that stays, to which command after command is attached.

Terraform starts its own provider for every command, and for every file of `terraform test`. The binary is the same
here, and so is every answer; what is saved is its start, its schema and the hash of its 700 MB.
https://developer.hashicorp.com/terraform/plugin/debugging#starting-a-provider-in-debug-mode
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mlops.clients.terraform.program import Terraform
from mlops_local.stack.terraform import initialising, plugins

CHECKOUT = Path(__file__).parents[3]

# A third less CPU for all of its garbage. And started by hand it writes down every call in full, 20 MB in a file of
# tests, where Terraform would have asked for nothing.
_THRIFT = {"GOGC": "400", "TF_LOG_SDK": "off", "TF_LOG_PROVIDER": "off"}
_ATTACH = re.compile(r"TF_REATTACH_PROVIDERS='(.+)'")
_TIMEOUT = 60


def install(program: Path, folder: Path) -> Path:
    """Have Terraform fetch and check the provider that the platform's roots have locked, and answer its binary."""
    folder.mkdir()
    for name in ("versions.tf", ".terraform.lock.hcl"):
        shutil.copy(CHECKOUT / "terraform" / "root" / name, folder)
    environment = os.environ | {"TF_PLUGIN_CACHE_DIR": str(plugins())}
    terraform = Terraform(program=program, folder=folder, environment=environment, log=folder / "log")
    with initialising():
        terraform.initialise(lockfile="readonly")
    return binary(folder / ".terraform")


def binary(data: Path) -> Path:
    """That of a root that was initialised, in Terraform's data of it."""
    (found,) = data.glob("providers/registry.terraform.io/hashicorp/aws/*/*/terraform-provider-aws_*")
    return found


@contextmanager
def running(program: Path, log: Path, environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Run a provider, and answer the variables that attach Terraform to it: an `init` need not fetch it then.

    A provider is configured by the last command that was attached to it, and reads credentials and endpoint from
    its own environment: so each account has one, and no two commands use it at the same time.

    Args:
        program: As `install` or `binary` answers.
        log: Where the provider's output goes.
        environment: All the variables of the provider.
    """
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [program, "-debug"], env={**_THRIFT, **environment}, stdout=output, stderr=output
        ) as process,
    ):
        try:
            yield {"TF_REATTACH_PROVIDERS": _attachment(process, log)}
        finally:
            process.terminate()


def _attachment(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        match = _ATTACH.search(log.read_text(encoding="utf-8"))
        if match:
            return match[1]
        time.sleep(0.05)
    raise AssertionError(f"the provider did not start: {log.read_text(encoding='utf-8')}")
