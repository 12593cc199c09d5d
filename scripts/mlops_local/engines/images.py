"""Images unpacked from the registry's own files, for engines that have no other way to run them."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops_local.base.archives import ArchiveError, unpack
from mlops_local.engines import ImageError
from mlops_local.registry.api import INDEXES, LocalRegistry, LocalRegistryError


@dataclass(frozen=True)
class UnpackedImage:
    """An unpacked image."""

    root: Path
    """Its file system."""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    folder: str = "/"
    """Its working directory, absolute in its own file system."""
    environment: dict[str, str] = field(default_factory=dict)

    def inside(self, path: str) -> Path:
        """Where an absolute path of the image is on this machine."""
        return self.root / path.lstrip("/")

    def located(self, text: str) -> str:
        """An argument or variable, pointed at the unpacked file when it names one of the image."""
        return str(self.inside(text)) if text.startswith("/") and self.inside(text).exists() else text


class Images:
    """Images of one account's registry, unpacked once."""

    def __init__(self, folder: Path, host: str, registry: LocalRegistry) -> None:
        self._folder = folder
        self._host = host
        self._registry = registry
        self._lock = threading.Lock()

    def unpacked(self, uri: str) -> UnpackedImage:
        """An image by tag or digest.

        Raises:
            ImageError: when it is not in the registry, or broken.
        """
        repository, reference = self._parse(uri)
        try:
            digest, manifest = self._manifest(repository, reference)
            config = self._json(repository, manifest["config"]["digest"])
            with self._lock:
                root = self._root(repository, digest, manifest)
        except (LocalRegistryError, ArchiveError, KeyError, ValueError, OSError) as error:
            raise ImageError(f"Requested image {uri} cannot be used: {error}") from error
        settings = config.get("config") or {}
        return UnpackedImage(
            root=root,
            entrypoint=tuple(settings.get("Entrypoint") or ()),
            command=tuple(settings.get("Cmd") or ()),
            folder=settings.get("WorkingDir") or "/",
            environment=dict(pair.split("=", 1) for pair in settings.get("Env") or ()),
        )

    def _parse(self, uri: str) -> tuple[str, str]:
        host, _, rest = uri.partition("/")
        if host != self._host:
            raise ImageError(f"Requested image {uri} not found: only images of {self._host} can be run here")
        repository, separator, reference = rest.partition("@")
        if not separator:
            repository, separator, reference = rest.partition(":")
        return repository, reference or "latest"

    def _manifest(self, repository: str, reference: str) -> tuple[str, dict[str, Any]]:
        """Digest and document of the image; of an index, the one for Linux on this kind of machine or any."""
        found = self._registry.manifest(repository, reference)
        document: dict[str, Any] = json.loads(found.image_manifest)
        if found.image_manifest_media_type not in INDEXES:
            return found.get_image_digest(), document
        usable = [one for one in document["manifests"] if (one.get("platform") or {}).get("os") != "unknown"]
        if not usable:
            raise ValueError("its index names no image")
        return self._manifest(repository, usable[0]["digest"])

    def _json(self, repository: str, digest: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self._registry.blobs.path(repository, digest).read_bytes())
        return document

    def _root(self, repository: str, digest: str, manifest: dict[str, Any]) -> Path:
        root = self._folder / digest.removeprefix("sha256:")
        if root.is_dir():
            return root
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            for layer in manifest["layers"]:
                unpack(self._registry.blobs.path(repository, layer["digest"]), draft, layer=True)
            draft.chmod(0o755)
            draft.rename(root)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        return root
