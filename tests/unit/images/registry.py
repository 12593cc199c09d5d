"""A registry in memory, whose tags are immutable as ECR's are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar

from semver import Version

from mlops.base.errors import RegistryError
from mlops.clients.aws.oci_registry import MANIFEST_TYPE, Login, Registry, RegistryImage
from mlops.images.builders import BuildSource


class FakeRegistry(Registry):
    """Images and labels by digest; `questions` lists what was asked."""

    def __init__(self) -> None:
        super().__init__(None, "web-safety/phishing-url", "registry.example")  # type: ignore[arg-type]  # never asked
        self.stored: dict[str, tuple[dict[str, str], list[str]]] = {}
        self.questions: list[str] = []
        self.refuses: set[str] = set()
        self.blobs: dict[str, bytes] = {}
        self.flaws: dict[str, str] = {}
        """What SageMaker does not take, by digest."""
        self.types: dict[str, str] = {}
        """Of manifests, by digest."""
        self.project = ""
        """The GitLab project that the model belongs to."""

    @property
    def login(self) -> Login:
        return Login(url="http://registry.example", user="AWS", password="secret")

    def find(self, tag: str) -> RegistryImage | None:
        self.questions.append(f"find {tag[:10]}")
        return next((image for image in self._all() if tag in image.tags), None)

    def owner(self) -> str:
        self.questions.append("owner")
        return self.project

    def images(self) -> Iterator[RegistryImage]:
        self.questions.append("images")
        yield from self._all()

    def labels(self, digest: str) -> dict[str, str]:
        return self.stored[digest][0]

    def flaw(self, digest: str) -> str:
        oci = self.types[digest] != MANIFEST_TYPE
        return f"its manifest is {self.types[digest]}" if oci else self.flaws.get(digest, "")

    def tag(self, digest: str, tag: str) -> None:
        if tag in self.refuses:
            raise RegistryError("the registry is down")
        if self.find(tag):
            raise RegistryError("the tag is immutable")
        self.stored[digest][1].append(tag)

    def put_blob(self, content: bytes, digest: str) -> None:
        self.blobs[digest] = content

    def put_manifest(self, content: bytes, tag: str, media_type: str = "") -> None:
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        assert media_type in {"", MANIFEST_TYPE}
        config: dict[str, Any] = json.loads(self.blobs[json.loads(content)["config"]["digest"]])
        self.put(digest, tag, config["config"]["Labels"])

    def put(self, digest: str, tag: str, labels: dict[str, str], media_type: str = MANIFEST_TYPE) -> None:
        """What a push does."""
        self.types.setdefault(digest, media_type)
        if self.find(tag):
            raise RegistryError("the tag is immutable")
        self.stored.setdefault(digest, (labels, []))[1].append(tag)

    def tags(self, digest: str) -> set[str]:
        return {tag for tag in self.stored[digest][1] if not tag.startswith("src-")}

    def _all(self) -> list[RegistryImage]:
        pushed = datetime(2026, 1, 1, tzinfo=UTC)
        return [
            RegistryImage(
                digest=digest,
                tags=tuple(tags),
                pushed_at=pushed,
                media_type=self.types[digest],
            )
            for digest, (_, tags) in self.stored.items()
        ]


OCI = "application/vnd.oci.image.manifest.v1+json"


class FakeBuilder:
    """Pushes an image without building one; `rivals` push something under the same version just before."""

    media_type = MANIFEST_TYPE

    name: ClassVar[str] = "fake"

    def __init__(self, *rivals: dict[str, str]) -> None:
        self.published: list[str] = []
        self._rivals = list(rivals)

    def publish(self, source: BuildSource, version: Version, registry: Registry) -> None:
        assert isinstance(registry, FakeRegistry)
        if self._rivals:
            registry.put(f"sha256:rival-{version}", str(version), self._rivals.pop(0))
        digest, labels = f"sha256:{source.repository.head[:7]}-{version}", source.labels(version)
        registry.put(digest, str(version), labels, self.media_type)
        self.published.append(str(version))
