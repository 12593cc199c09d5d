"""From a commit to an image under its version: with BuildKit, or without any container engine."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from semver import Version

from mlops.base import console
from mlops.ci.pipeline import Pipeline
from mlops.clients.aws.oci_registry import Registry
from mlops.clients.git.repository import Repository
from mlops.contracts import versions
from mlops.images import oci_image
from mlops.images.content_key import Content
from mlops.manifest.reader import Model

if TYPE_CHECKING:
    from mlops.clients.docker import DockerDaemon

KEY_LABEL = "org.ml-ops.content-key"
REVISION_LABEL = "org.opencontainers.image.revision"
VERSION_LABEL = "org.opencontainers.image.version"
SOURCE_LABEL = "org.opencontainers.image.source"


@dataclass(frozen=True, kw_only=True)
class BuildSource:
    """What is to become an image."""

    model: Model
    repository: Repository
    content: Content
    build_arguments: Mapping[str, str]
    pipeline: Pipeline

    @property
    def key_tag(self) -> str:
        """The tag that says which content an image has."""
        return f"src-mr-{self.content.key}" if self._is_candidate else f"src-{self.content.key}"

    @property
    def key_tags(self) -> tuple[str, ...]:
        """The tags an image with this content may have; a release comes before a candidate."""
        return tuple(dict.fromkeys((f"src-{self.content.key}", self.key_tag)))

    def version(self, following: Version) -> Version:
        """What this pipeline calls the version that follows the last release."""
        if not self._is_candidate:
            return following
        return versions.merge_request_version(
            following, self.pipeline.merge_request_iid or 0, self.pipeline.pipeline_iid
        )

    def labels(self, version: Version) -> dict[str, str]:
        """The image's labels."""
        origin = self.pipeline.origin
        source = f"{self.pipeline.server_url}/{origin.project_path}" if origin.project_path else ""
        return {
            REVISION_LABEL: self.repository.head,
            VERSION_LABEL: str(version),
            KEY_LABEL: self.content.key,
            **({SOURCE_LABEL: source} if source else {}),
        }

    @property
    def _is_candidate(self) -> bool:
        return self.pipeline.kind == "merge_request"


class Builder(Protocol):
    """Makes an image of a source and pushes it under its version."""

    name: ClassVar[str]

    def publish(self, source: BuildSource, version: Version, registry: Registry) -> None:
        """Build and push.

        Raises:
            RegistryError: when the registry does not take it, because the tag exists or for another reason.
        """


class DockerBuilder:
    """Builds the Dockerfile with BuildKit."""

    name: ClassVar[str] = "docker"

    @cached_property
    def _engine(self) -> DockerDaemon:
        from mlops.clients.docker import DockerDaemon

        return DockerDaemon.connect(console.say)

    def publish(self, source: BuildSource, version: Version, registry: Registry) -> None:
        """See `Builder`."""
        content, uri = source.content, registry.uri
        with tempfile.TemporaryDirectory(prefix="mlops-") as folder:
            root = Path(folder) / "source"
            source.repository.export([*content.files, content.dockerfile], root)
            with console.section(f"Build {uri}:{version}"):
                self._engine.build(
                    root / content.context,
                    root / content.dockerfile,
                    f"{uri}:{version}",
                    labels=source.labels(version),
                    arguments=source.build_arguments,
                )
        try:
            with console.section(f"Push {uri}:{version}"):
                self._engine.push(uri, str(version), registry.login)
        finally:
            self._engine.remove(f"{uri}:{version}")


class ProcessBuilder:
    """Packs the source into an image without a container engine."""

    name: ClassVar[str] = "process"

    def publish(self, source: BuildSource, version: Version, registry: Registry) -> None:
        """See `Builder`."""
        console.warn(
            "Without a container engine the image holds the source alone: its jobs will run as processes."
        )
        content = source.content
        with tempfile.TemporaryDirectory(prefix="mlops-") as folder:
            root = Path(folder) / "source"
            source.repository.export([*content.files, content.dockerfile], root)
            settings = oci_image.read_settings(
                (root / content.dockerfile).read_text(encoding="utf-8", errors="replace"),
                source.build_arguments,
            )
            context = root / content.context
            files = [(root / file).relative_to(context).as_posix() for file in content.files]
            made = oci_image.assemble(context, files, settings, source.labels(version))
        for digest, blob in made.blobs.items():
            registry.put_blob(blob, digest)
        registry.put_manifest(made.manifest, str(version))


BUILDERS: Mapping[str, type[Builder]] = {"docker": DockerBuilder, "process": ProcessBuilder}
