"""The PyPI registry of a project: https://docs.gitlab.com/user/packages/pypi_repository/

A package of one name and version is taken once, as GitLab takes it.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from mlops_local.gitlab import records
from mlops_local.gitlab.projects import LocalProject

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.(whl|tar\.gz)")


def add(home: Path, project: LocalProject, file_name: str, content: bytes) -> str:
    """Keep a file; what is wrong with it, in GitLab's words, when it is not taken."""
    if not _NAME.fullmatch(file_name):
        return "Validation failed: File name is invalid"
    with records.edit(_index(home, project)) as files:
        if file_name in files:
            return "Validation failed: File name has already been taken"
        folder = home / f"packages-{project.id}"
        folder.mkdir(exist_ok=True)
        (folder / file_name).write_bytes(content)
        files[file_name] = hashlib.sha256(content).hexdigest()
    return ""


def simple(home: Path, project: LocalProject, package: str, url: str) -> str:
    """The page of a package in the simple index; empty when there is none."""
    links = [
        f'<a href="{url}/api/v4/projects/{project.id}/packages/pypi/files/{digest}/{name}#sha256={digest}">'
        f"{name}</a><br>"
        for name, digest in records.read(_index(home, project)).items()
        if _normal(name.split("-")[0]) == _normal(package)
    ]
    return f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>" if links else ""


def find(home: Path, project: LocalProject, digest: str, file_name: str) -> Path | None:
    """The file of that name and SHA-256."""
    known: dict[str, Any] = records.read(_index(home, project))
    return home / f"packages-{project.id}" / file_name if known.get(file_name) == digest else None


def _index(home: Path, project: LocalProject) -> Path:
    return home / f"packages-{project.id}.json"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
