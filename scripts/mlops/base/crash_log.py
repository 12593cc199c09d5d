"""A paste-ready log of an unexpected error: versions, command, traceback; never the environment."""

from __future__ import annotations

import platform
import shlex
import tempfile
import traceback
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

_PACKAGES = ("ml-ops", "boto3", "pydantic", "semver", "docker", "python-gitlab")


def write_crash_log(words: Sequence[str]) -> Path:
    """Write what we know of the exception being handled, and return the file."""
    lines = [f"mlops {shlex.join(words)}", f"Python {platform.python_version()} on {platform.platform()}"]
    for package in _PACKAGES:
        try:
            lines.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{package} not installed")
    with tempfile.NamedTemporaryFile(
        "w", prefix="mlops-", suffix=".log", delete=False, encoding="utf-8"
    ) as log:
        log.write("\n".join(lines) + "\n\n" + traceback.format_exc())
    return Path(log.name)
