"""Two ways to run an image: as a container, or its command as a process."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from mlops_local.base.children import Children
    from mlops_local.base.config import LocalAwsConfig
    from mlops_local.registry.api import LocalRegistry


class ImageError(Exception):
    """An image that cannot be pulled or prepared; the message says why, for a person."""


@dataclass(frozen=True, kw_only=True)
class ContainerJob:
    """What to run, and with what around it."""

    name: str
    """Unique on this machine; letters, digits and hyphens."""
    image: str
    """By tag or digest, in this account's registry."""
    base: Path
    """The container's /opt/ml."""
    log: Path
    """All output is appended here."""
    environment: Mapping[str, str]
    entrypoint: tuple[str, ...] = ()
    """Instead of the image's own, when not empty."""
    arguments: tuple[str, ...] = ()
    """Instead of the image's own command, when not empty."""


class Container(Protocol):
    """Something that runs."""

    def wait(self, seconds: float) -> int | None:
        """The exit code, or None when it still runs after that time."""

    def stop(self) -> None:
        """End it, politely first, with everything it started; return once it is gone."""


class Engine(Protocol):
    """Runs images."""

    def prepare(self, image: str) -> None:
        """Do what takes long and can be done once.

        Raises:
            ImageError: when there is no such image, or it cannot be made to run.
        """

    def start(self, job: ContainerJob) -> Container:
        """Run a prepared image.

        Raises:
            ImageError: when its command cannot be started.
        """

    def close(self) -> None:
        """End whatever still runs."""


class _Module(Protocol):
    def create(self, config: LocalAwsConfig, registry: LocalRegistry, children: Children) -> Engine: ...


ENGINES = {"process": "mlops_local.engines.process", "docker": "mlops_local.engines.docker"}


def create(config: LocalAwsConfig, registry: LocalRegistry, children: Children) -> Engine:
    """The engine that the configuration names."""
    module = cast(_Module, importlib.import_module(ENGINES[config.engine]))
    return module.create(config, registry, children)
