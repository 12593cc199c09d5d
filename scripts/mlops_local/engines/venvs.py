"""Virtual environments from an image's requirements.txt, each made once and kept."""

from __future__ import annotations

import ensurepip
import fcntl
import hashlib
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlops_local.engines import ImageError

_SECONDS = 900
_TAIL_LINES = 15


class Venvs:
    """Environments in a folder that several stacks may share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def ensure(self, requirements: Path | None) -> Path:
        """The environment with what a requirements.txt asks for; empty without one.

        Raises:
            ImageError: with the installer's last words.
        """
        if requirements is None:
            return self._ensure(b"")
        return self._ensure(requirements.read_bytes(), "-r", str(requirements))

    def with_pip(self) -> Path:
        """An environment with what the image of this Python has, pip and setuptools; a copy of it works too.

        Raises:
            ImageError: with the installer's last words.
        """
        return self._ensure(b"pip", *_bundled(), options=("--relocatable",))

    def _ensure(self, content: bytes, *packages: str, options: tuple[str, ...] = ()) -> Path:
        key = _key(content)
        venv = self._folder / key
        with self._lock, self._alone(key):
            if not (venv / ".ready").exists():
                self._make(venv, *packages, options=options)
        return venv

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """Keep other stacks from making the same environment meanwhile."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{key}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _make(self, venv: Path, *packages: str, options: tuple[str, ...] = ()) -> None:
        # The interpreter behind our own environment: a venv of a venv would see its packages.
        base = getattr(sys, "_base_executable", sys.executable)
        _run([_uv(), "venv", "--quiet", "--clear", *options, "--python", base, str(venv)])
        if packages:
            target = ("--python", str(venv / "bin" / "python"), "--compile-bytecode")
            _run([_uv(), "pip", "install", "--quiet", *target, *packages])
        (venv / ".ready").touch()


def _key(content: bytes) -> str:
    python = f"{platform.python_implementation()} {platform.python_version()} {platform.machine()}"
    return hashlib.sha256(python.encode() + b"\0" + content).hexdigest()[:20]


def _uv() -> str:
    import uv

    return str(uv.find_uv_bin())


def _bundled() -> tuple[str, ...]:
    """What installs pip, and setuptools before Python 3.12, from the wheels that Python brings."""
    folder = getattr(ensurepip, "_WHEEL_PKG_DIR", None)  # where a distribution keeps them
    wheels = Path(folder or Path(ensurepip.__file__).parent / "_bundled")
    names = [name for name in ("pip", "setuptools") if any(wheels.glob(f"{name}-*.whl"))]
    return ("--no-index", "--find-links", str(wheels), *names) if names else ("pip",)


def _run(command: list[str]) -> None:
    # uv keeps its own settings (index, cache, proxy); credentials of AWS are none of its business
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "PYTHON", "VIRTUAL_ENV"))
    }
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ImageError(f"The environment of the image could not be made: {error}") from error
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-_TAIL_LINES:])
        raise ImageError(f"The requirements.txt of the image could not be installed:\n{tail}")
