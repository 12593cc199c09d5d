"""The registry's blobs on disk, a folder a repository: `<home>/registry/<repository>/_blobs/<sha256>`.

A leading underscore cannot begin a part of a repository's name, so folders and repositories never meet.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from pathlib import Path
from typing import IO

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
NAME = re.compile(r"(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*")
_UPLOAD = re.compile(r"[0-9a-f-]{36}")
_CHUNK = 1 << 20


class DigestError(Exception):
    """The content is not what its digest says."""


class Blobs:
    """Layers and configurations of images. Callers pass names and digests that match the patterns above."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, repository: str, digest: str) -> Path:
        """Where a blob is, if it is there.

        Raises:
            ValueError: when name or digest is none: they come from a URL and become a path.
        """
        if not NAME.fullmatch(repository) or not DIGEST.fullmatch(digest):
            raise ValueError(f"no blob can be called {repository}@{digest}")
        return self._folder / repository / "_blobs" / digest.removeprefix("sha256:")

    def mount(self, repository: str, digest: str, source: str) -> bool:
        """Share a blob of another repository; False when that has none."""
        origin, target = self.path(source, digest), self.path(repository, digest)
        if not origin.exists():
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            draft = target.with_name(str(uuid.uuid4()))
            os.link(origin, draft)
            draft.replace(target)
        return True

    def begin(self, repository: str) -> str:
        """Start an upload and return its id."""
        upload = str(uuid.uuid4())
        file = self._upload(repository, upload)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        return upload

    def size(self, repository: str, upload: str) -> int | None:
        """How many bytes of an upload have arrived; None when there is no such upload."""
        if not _UPLOAD.fullmatch(upload):
            return None
        file = self._upload(repository, upload)
        return file.stat().st_size if file.exists() else None

    def append(self, repository: str, upload: str, content: IO[bytes]) -> int:
        """Add to an upload and return its size so far."""
        with self._upload(repository, upload).open("ab") as file:
            while chunk := content.read(_CHUNK):
                file.write(chunk)
            return file.tell()

    def finish(self, repository: str, upload: str, digest: str) -> None:
        """Turn an upload into a blob.

        Raises:
            DigestError: when its content has another digest; the upload is gone then.
        """
        file = self._upload(repository, upload)
        with file.open("rb") as content:
            found = "sha256:" + hashlib.file_digest(content, "sha256").hexdigest()
        if found != digest:
            file.unlink()
            raise DigestError(f"expected {digest}, found {found}")
        target = self.path(repository, digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)

    def abandon(self, repository: str, upload: str) -> None:
        """Forget an upload."""
        self._upload(repository, upload).unlink(missing_ok=True)

    def _upload(self, repository: str, upload: str) -> Path:
        return self._folder / repository / "_uploads" / upload
