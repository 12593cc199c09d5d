"""Terraform, run through python-terraform 0.10.1, whose traps end here.

Its `destroy()` passes a flag Terraform no longer has, plain `apply()` waits for an approval and
passes values beside a plan file, `output(name)` fails for lists, a failure is logged with a method Python
3.13 removed, and the environment of the command cannot be chosen.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import IO, Any

import python_terraform  # type: ignore[import-untyped]

from mlops.clients.terraform.errors import explain
from mlops.clients.terraform.install import find_terraform

__all__ = ["Terraform", "find_terraform"]

_CHANGES = 2  # what `plan -detailed-exitcode` answers when there is something to do
# These answer with sensitive values in plain text, which no log may hold.
_UNMASKED = frozenset({"show", "output", "console", "state pull"})
# `module.a.aws_b.c: Creating...`; what takes long says so every 10 seconds, of which one a minute is shown.
_PROGRESS = re.compile(
    r"^\S.*: (?!Still |Refreshing |Reading|Read complete)[A-Z][a-z]+.*|.*: Still .*m0?0s elapsed\]"
)


class Terraform(python_terraform.Terraform):  # type: ignore[misc]
    """One root module in `folder`.

    Args:
        program: As `find_terraform` answers.
        folder: Of the root module; commands run there.
        environment: All the variables of the commands.
        var_files: Files of values, for every command that takes values.
        log: Where the output of every command goes, for a person to read after a failure.
        timeout: Seconds a command may take.
        lock_timeout: Seconds to wait for a state that another Terraform has locked.
        report: Gets a line for each step of an apply.

    Every method raises TerraformError, or a kind of it, when its command fails.
    """

    def __init__(  # pylint: disable=too-many-arguments
        self,
        *,
        program: Path,
        folder: Path,
        environment: Mapping[str, str],
        log: Path,
        var_files: Sequence[Path] = (),
        timeout: float = 1800,
        lock_timeout: int = 0,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self._environment = dict(environment) | {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}
        self._log = log
        self._timeout = timeout
        self._lock_timeout = f"{lock_timeout}s"
        self._report = report
        self._backend: Path | None = None
        super().__init__(
            working_dir=str(folder),
            terraform_bin_path=str(program),
            var_file=[str(file) for file in var_files],
        )

    def initialise(self, backend: Path | None = None, **options: Any) -> None:
        """Fetch modules and providers; `backend` is the file that says where the state lies."""
        self._backend = backend
        settings = {"backend_config": None if backend is None else str(backend)}
        self.init(**({"var_file": None, "var": None, "target": None} | settings | options))

    def migrate(self, backend: Path) -> None:
        """Move the state to the backend that the root names now."""
        flags = dict.fromkeys(("migrate_state", "force_copy"), python_terraform.IsFlagged)
        self.initialise(backend, reconfigure=python_terraform.IsNotFlagged, **flags)

    def has_changes(self, **options: Any) -> bool:
        """Whether an apply would do anything."""
        code, _, _ = self.plan(**options)
        return bool(code == _CHANGES)

    def plan_to(self, file: Path, **options: Any) -> tuple[bool, str]:
        """Write a plan file. Returns whether an apply would do anything, and the plan as people read it."""
        code, text, _ = self.plan(out=str(file), lock_timeout=self._lock_timeout, **options)
        return bool(code == _CHANGES), text

    def apply_plan(self, file: Path) -> None:
        """Do what a plan file says, and nothing else."""
        self.cmd("apply", str(file), input=False, lock_timeout=self._lock_timeout)

    def apply_now(self, **options: Any) -> None:
        """Apply without asking; the one who calls has decided."""
        self.apply(skip_plan=True, **options)

    def destroy_now(self, **options: Any) -> None:
        """Destroy without asking; the one who calls has decided."""
        self.destroy(force=python_terraform.IsNotFlagged, auto_approve=python_terraform.IsFlagged, **options)

    def stored_state(self) -> dict[str, Any]:
        """The state as it is kept, without asking a provider; empty before the first apply."""
        _, text, _ = self.cmd("state pull")
        return dict(json.loads(text)) if text.strip() else {}

    def describe(self, file: Path) -> dict[str, Any]:
        """A plan file as JSON. Sensitive values are in it.

        https://developer.hashicorp.com/terraform/internals/json-format
        """
        _, text, _ = self.cmd("show", str(file), json=python_terraform.IsFlagged)
        return dict(json.loads(text))

    def outputs(self) -> dict[str, Any]:
        """The value of every output."""
        return {name: output["value"] for name, output in self.output().items()}

    def evaluate(self, expression: str, file: Path) -> Any:
        """The value of an expression of variables that the root declares, with a file of values."""
        _, text, _ = self.cmd("console", given=f"jsonencode({expression})\n", var_file=[str(file)])
        return json.loads(json.loads(text.splitlines()[-1]))

    def versions(self) -> dict[str, str]:
        """Of Terraform and of each provider the root has locked."""
        _, text, _ = self.cmd("version", json=python_terraform.IsFlagged)
        found = json.loads(text)
        return {"terraform": found["terraform_version"], **found.get("provider_selections", {})}

    def cmd(self, cmd: str, *args: str, given: str = "", **kwargs: Any) -> tuple[int, str, str]:
        """Run one command; python-terraform calls this for every method.

        Args:
            given: What the command reads on standard input.

        Raises:
            TerraformError: with Terraform's own words, and where the whole output is.
        """
        plain = {} if cmd in ("console", "state pull") else {"no_color": python_terraform.IsFlagged}
        options = kwargs | plain
        words = self.generate_cmd_string(cmd, *args, **options)
        try:
            code, out, err = self._run(words, given, self._report if cmd == "apply" else None)
        finally:
            self.temp_var_files.clean_up()
        shown = err if cmd in _UNMASKED else f"{out}{err}"
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"$ terraform {cmd}\n{shown}\n")
        if code != 0 and not (cmd == "plan" and code == _CHANGES):
            raise explain(cmd, err or out, self._log, Path(self.working_dir), self._backend)
        return code, out, err

    def _run(
        self, words: list[str], given: str, report: Callable[[str], None] | None
    ) -> tuple[int, str, str]:
        with subprocess.Popen(
            words,
            cwd=self.working_dir,
            env=self._environment,
            stdin=subprocess.PIPE if given else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Two interrupts would make Terraform drop its state: it gets one of ours, and none of a terminal.
            process_group=0,
        ) as process:
            out, err = _Reader(process.stdout, report), _Reader(process.stderr)
            if process.stdin is not None:
                process.stdin.write(given)
                process.stdin.close()
            try:
                process.wait(self._timeout)
            except subprocess.TimeoutExpired:
                # An interrupted Terraform writes its state and ends its provider; a killed one does neither.
                _interrupt(process)
                late = f"Error: stopped after {self._timeout:.0f} seconds\n"
                return process.returncode or 1, out.text(), err.text() + late
            except KeyboardInterrupt:
                _interrupt(process)
                with self._log.open("a", encoding="utf-8") as log:
                    log.write(f"$ terraform {words[1]} (interrupted)\n{err.text()}\n")
                raise
            return process.returncode, out.text(), err.text()


class _Reader:
    """Reads a stream of a process to its end, beside the one that waits for the process."""

    def __init__(self, stream: IO[str] | None, report: Callable[[str], None] | None = None) -> None:
        self._lines: list[str] = []
        self._thread = Thread(target=self._read, args=(stream, report), daemon=True)
        self._thread.start()

    def _read(self, stream: IO[str] | None, report: Callable[[str], None] | None) -> None:
        for line in stream or ():
            self._lines.append(line)
            if report is not None and _PROGRESS.match(line):
                report(line.rstrip())

    def text(self) -> str:
        self._thread.join()
        return "".join(self._lines)


def _interrupt(process: subprocess.Popen[str]) -> None:
    """Ask Terraform to end, and wait until it has written its state, however often it is interrupted."""
    process.send_signal(signal.SIGINT)
    while process.poll() is None:
        try:
            process.wait()
        except KeyboardInterrupt:
            continue
