"""The program terraform: found on PATH, or the pinned release, fetched and checked."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

from mlops.base.errors import PrerequisiteError

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
