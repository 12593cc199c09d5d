"""Accounts as Terraform left them, kept so that a next stack with the same content need not apply again.

A snapshot is one file below the checkout's cache: the local AWS' account and Terraform's state, both with
marks for the places of the stack (`places.py`). Its name is a digest of everything that made it. The account
is a pickle, which can run code, so a file is read only if it is this user's, nobody else can write it, and
its content has the digest that stands in its first line.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlops_local.base import paths
from mlops_local.base.environment import LocalEnvironment

# 5 MB each, and 60 MB that of a whole environment: a few environments, before and after a change.
_KEPT = 6
_PACKAGES = ("moto", "boto3", "botocore", "werkzeug")
# Of this package, what makes an account and its state.
_SOURCES = ("aws", "base", "registry", "stack/terraform.py")


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What `keep` was given."""

    key: str
    made: float
    """Seconds since the epoch."""
    state: str
    """Terraform's, with marks for places."""
    account: bytes
    """As `aws/account.py` writes it."""

    @property
    def day(self) -> str:
        """When it was made, as people read it."""
        return f"{datetime.fromtimestamp(self.made).astimezone():%Y-%m-%d %H:%M:%S}"


def key(environment: LocalEnvironment, packages: Mapping[str, Path], settings: object) -> str:
    """The digest of everything that an apply depends on.

    Args:
        packages: The Lambda's zip; for a whole environment, the folder of Airflow's package too.
        settings: Whatever else Terraform is given, as JSON; with marks for places.
    """
    checkout, package = paths.checkout(), Path(__file__).parents[1]
    digest = hashlib.sha256()
    versions = [platform.python_version(), *map(version, _PACKAGES)]
    digest.update(json.dumps([environment.name, versions, settings], sort_keys=True).encode())
    found = [("values", environment.values)]
    found += [(f"terraform/{part}", checkout / "terraform" / part) for part in ("root", "modules")]
    found += [(f"local/{name}", package / name) for name in _SOURCES]
    found += sorted(packages.items())
    for name, place in found:
        for file in _files(place):
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{name} {file.relative_to(place)} {content}\n".encode())
    return digest.hexdigest()


def take(wanted: str, copy: Path) -> Snapshot | None:
    """The snapshot with that key, copied for a stack that starts; None if there is none to use."""
    file = _file(wanted)
    found = read(file) if file.exists() else None
    if found is None or found.key != wanted:
        return None
    try:
        os.utime(file)  # the oldest go first
        _write(copy, file.read_bytes())
    except FileNotFoundError:
        return None
    return read(copy)  # what is in the copy: another process may have replaced the file


def read(file: Path) -> Snapshot | None:
    """The snapshot in a file; None if it is damaged, or not surely our own."""
    try:
        with file.open("rb") as source:
            if not _is_ours(os.fstat(source.fileno())):
                return None
            digest, _, content = source.read().partition(b"\n")
        if hashlib.sha256(content).hexdigest().encode() != digest:
            return None
        head, _, account = content.partition(b"\n")
        document: dict[str, Any] = json.loads(head)
        return Snapshot(**document, account=account)
    except (OSError, ValueError, TypeError):
        return None


def keep(wanted: str, state: str, account: bytes) -> Path:
    """Write a snapshot, in one step, and forget the oldest.

    Raises:
        OSError: when it cannot be written.
    """
    file = _file(wanted)
    head = json.dumps({"key": wanted, "made": time.time(), "state": state}).encode()
    content = head + b"\n" + account
    draft = file.with_name(f"{file.name}.{os.getpid()}.part")
    _write(draft, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
    draft.replace(file)
    newest = sorted(_folder().glob("*.snapshot"), key=_age)
    for old in newest[_KEPT:]:
        old.unlink(missing_ok=True)
    return file


@contextmanager
def making(wanted: str, seconds: float) -> Iterator[None]:
    """Let one process make a snapshot; another one that wants the same waits, and finds it then.

    After so many seconds a process that is still not done is not waited for: each makes its own then.
    """
    with (_folder() / f".{wanted[:2]}.lock").open("w", encoding="utf-8") as handle:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.1)
        yield


def _write(file: Path, content: bytes) -> None:
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as sink:
        sink.write(content)


def _file(wanted: str) -> Path:
    return _folder() / f"{wanted[:32]}.snapshot"


def _folder() -> Path:
    folder = paths.cache() / "accounts"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def _files(place: Path) -> list[Path]:
    """The files of a folder that matter, or the file itself."""
    if place.is_file():
        return [place]
    found = (file for file in place.rglob("*") if file.is_file() and file.suffix not in (".md", ".pyc"))
    return sorted(file for file in found if not {".terraform", "tests"} & set(file.relative_to(place).parts))


def _is_ours(status: os.stat_result) -> bool:
    return status.st_uid == os.getuid() and not stat.S_IMODE(status.st_mode) & 0o077


def _age(file: Path) -> float:
    """The lower, the later it was used; one that another process removes meanwhile is the oldest."""
    try:
        return -file.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
