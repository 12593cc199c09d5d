"""Terraform: found or fetched, and run through python-terraform 0.10.1, whose traps end here.

Its `destroy()` passes a flag Terraform no longer has, plain `apply()` waits for an approval nobody gives,
`output(name)` fails for lists, a failure is logged with a method Python 3.13 removed, and the environment of
the command cannot be chosen.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import platform
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import python_terraform  # type: ignore[import-untyped]

from mlops.errors import PrerequisiteError, TerraformError

OLDEST = (1, 11)  # modules and tests use what 1.11 brought
PINNED = "1.11.4"
# Of the release's zip files, from https://releases.hashicorp.com/terraform/1.11.4/terraform_1.11.4_SHA256SUMS
CHECKSUMS = {
    "darwin_amd64": "a56d5002b9f7647291faccc3dd1a70350e60fb61e4c45037629508b8fdc2575b",
    "darwin_arm64": "867e0808fa971217043e25b7a792b10720c79b1546f8a68479b74f138be73e18",
    "linux_amd64": "1ce994251c00281d6845f0f268637ba50c0005657eb3cf096b92f753b42ef4dc",
    "linux_arm64": "a43d1d0da9b9bab214a8305a39db0e40869572594ccf50c416a7756499143633",
}
_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_INSTALL_PAGE = "https://developer.hashicorp.com/terraform/install"
_CHANGES = 2  # what `plan -detailed-exitcode` answers when there is something to do
_CAUSE_LINES = 40

Fetch = Callable[[str], bytes]


def find_terraform(folder: Path, fetch: Fetch | None = None) -> Path:
    """The program: on PATH when it is new enough, else the pinned release in `folder`, fetched once.

    Args:
        folder: Of this checkout, such as `.mlops/bin`.
        fetch: Downloads an address; the default asks HashiCorp over HTTPS.

    Raises:
        PrerequisiteError: when there is none and it cannot be fetched; says how to install it.
    """
    candidates = [shutil.which("terraform"), str(folder / "terraform")]
    for candidate in candidates:
        if candidate and Path(candidate).is_file() and _version(candidate) >= OLDEST:
            return Path(candidate)
    return _install(folder, fetch or _download)


def _version(program: str) -> tuple[int, int]:
    """Major and minor; (0, 0) for what does not answer as Terraform does."""
    environment = os.environ | {"CHECKPOINT_DISABLE": "1"}
    command = [program, "version", "-json"]
    try:
        answer = subprocess.run(command, capture_output=True, env=environment, timeout=60, check=True)
        major, minor, *_ = json.loads(answer.stdout)["terraform_version"].split(".")
        return int(major), int(minor)
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return 0, 0


def _install(folder: Path, fetch: Fetch) -> Path:
    """Fetch, check and unpack the pinned release; nothing is left behind when any of it fails."""
    target = f"{platform.system().lower()}_{_ARCHITECTURES.get(platform.machine().lower(), '')}"
    if target not in CHECKSUMS:
        raise _missing(f"there is no pinned release for {platform.system()} {platform.machine()}")
    archive = f"terraform_{PINNED}_{target}.zip"
    url = f"https://releases.hashicorp.com/terraform/{PINNED}/{archive}"
    try:
        content = fetch(url)
    except OSError as error:  # urllib's errors are OSErrors
        raise _missing(f"{url} cannot be fetched: {error}", archive) from error
    found = hashlib.sha256(content).hexdigest()
    if found != CHECKSUMS[target]:
        raise _missing(f"{url} has SHA-256 {found}, expected {CHECKSUMS[target]}", archive)
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"terraform.{os.getpid()}.part"
    with zipfile.ZipFile(io.BytesIO(content)) as zipped:
        draft.write_bytes(zipped.read("terraform"))
    draft.chmod(0o755)
    return draft.replace(folder / "terraform")


def _download(url: str) -> bytes:
    from urllib.request import urlopen

    with urlopen(url, timeout=60) as answer:  # noqa: S310  # the address is ours, and HTTPS
        return bytes(answer.read())


def _missing(cause: str, archive: str = "") -> PrerequisiteError:
    command = f"Install it ({_INSTALL_PAGE})"
    if archive:
        url = f"https://releases.hashicorp.com/terraform/{PINNED}/{archive}"
        command = f"Run: curl -fsSLO {url} && sudo unzip -o {archive} terraform -d /usr/local/bin"
    return PrerequisiteError(
        f"Terraform {OLDEST[0]}.{OLDEST[1]} or newer is missing",
        cause=f"PATH has none, and {cause}",
        next_step=command,
        link=_INSTALL_PAGE,
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

    Every method raises TerraformError when its command fails.
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
    ) -> None:
        self._environment = dict(environment) | {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}
        self._log = log
        self._timeout = timeout
        super().__init__(
            working_dir=str(folder),
            terraform_bin_path=str(program),
            var_file=[str(file) for file in var_files],
        )

    def initialise(self, **options: Any) -> None:
        """Fetch modules and providers."""
        self.init(**({"var_file": None, "var": None, "target": None} | options))

    def has_changes(self, **options: Any) -> bool:
        """Whether an apply would do anything."""
        code, _, _ = self.plan(**options)
        return bool(code == _CHANGES)

    def apply_now(self, **options: Any) -> None:
        """Apply without asking; the one who calls has decided."""
        self.apply(skip_plan=True, **options)

    def destroy_now(self, **options: Any) -> None:
        """Destroy without asking; the one who calls has decided."""
        self.destroy(force=python_terraform.IsNotFlagged, auto_approve=python_terraform.IsFlagged, **options)

    def outputs(self) -> dict[str, Any]:
        """The value of every output."""
        return {name: output["value"] for name, output in self.output().items()}

    def cmd(self, cmd: str, *args: str, **kwargs: Any) -> tuple[int, str, str]:
        """Run one command; python-terraform calls this for every method.

        Raises:
            TerraformError: with Terraform's own words, and where the whole output is.
        """
        options = kwargs | {"no_color": python_terraform.IsFlagged}
        words = self.generate_cmd_string(cmd, *args, **options)
        try:
            code, out, err = self._run(words)
        finally:
            self.temp_var_files.clean_up()
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"$ terraform {cmd}\n{out}{err}\n")
        if code != 0 and not (cmd == "plan" and code == _CHANGES):
            raise TerraformError(
                f"terraform {cmd} failed",
                cause=_cause(err or out),
                next_step="Mend the cause and run it again: Terraform goes on where it stopped.",
                link=str(self._log),
            )
        return code, out, err

    def _run(self, words: list[str]) -> tuple[int, str, str]:
        with subprocess.Popen(
            words,
            cwd=self.working_dir,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                out, err = process.communicate(timeout=self._timeout)
            except subprocess.TimeoutExpired:
                # An interrupted Terraform writes its state and ends its provider; a killed one does neither.
                process.send_signal(signal.SIGINT)
                out, err = process.communicate()
                err += f"Error: stopped after {self._timeout:.0f} seconds\n"
                return process.returncode or 1, out, err
            except KeyboardInterrupt:
                # The terminal has interrupted Terraform as well: let it write its state.
                with contextlib.suppress(KeyboardInterrupt):
                    process.communicate()
                raise
            return process.returncode, out, err


def _cause(text: str) -> str:
    """What Terraform says from its first `Error:` on, without the empty lines."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    first = next((number for number, line in enumerate(lines) if line.startswith("Error:")), 0)
    return "\n".join(lines[first : first + _CAUSE_LINES])
