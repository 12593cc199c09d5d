"""Terraform's provider as a process that stays, to which command after command is attached.

Terraform starts its own provider for every command, and for every file of `terraform test`. The binary is the same
here, and so is every answer; what is saved is its start, its schema and the hash of its 700 MB.
https://developer.hashicorp.com/terraform/plugin/debugging#starting-a-provider-in-debug-mode
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_ATTACH = re.compile(r"TF_REATTACH_PROVIDERS='(.+)'")
_TIMEOUT = 60


@contextmanager
def running(data: Path, log: Path, environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Run the provider that an initialised root has, and answer the variables that attach Terraform to it.

    A provider is configured by the last command that was attached to it, and reads credentials and endpoint from
    its own environment: so each account has one, and no two commands use it at the same time.

    Args:
        data: Terraform's data of the initialised root, such as `.terraform`.
        log: Where the provider's output goes.
        environment: All the variables of the provider.
    """
    (program,) = data.glob("providers/registry.terraform.io/hashicorp/aws/*/*/terraform-provider-aws_*")
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [program, "-debug"], env={"GOGC": "400", **environment}, stdout=output, stderr=output
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
