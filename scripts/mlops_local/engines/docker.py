"""Runs images as Docker containers, on the host's network: the local AWS listens on 127.0.0.1 only."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_local.base.children import Children
from mlops_local.base.config import LocalAwsConfig
from mlops_local.engines import ContainerJob, ImageError
from mlops_local.registry.api import LocalRegistry

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container as RawContainer

_LABEL = "mlops_local.home"
_ML = "/opt/ml"
_GRACE_SECONDS = 5


class DockerContainer:
    """A container, and a copy of its output on its way to a file."""

    def __init__(self, raw: RawContainer, log: Path) -> None:
        self._raw = raw
        self._code = 0
        self._done = threading.Event()
        self._log = log
        threading.Thread(target=self._follow, daemon=True).start()

    def wait(self, seconds: float) -> int | None:
        """See `Container`."""
        return self._code if self._done.wait(seconds) else None

    def stop(self) -> None:
        """See `Container`."""
        from docker.errors import APIError

        with contextlib.suppress(APIError):  # it has ended meanwhile
            self._raw.stop(timeout=_GRACE_SECONDS)
        self._done.wait(_GRACE_SECONDS)

    def _follow(self) -> None:
        from docker.errors import APIError
        from requests.exceptions import RequestException

        code = 137
        try:
            with self._log.open("ab", buffering=0) as file:
                for chunk in self._raw.logs(stream=True, follow=True):
                    file.write(chunk)
            code = int(self._raw.wait(timeout=None)["StatusCode"])
            self._raw.remove(v=True, force=True)
        except (APIError, RequestException, OSError):  # the engine or the stack is being stopped
            pass
        finally:
            self._code = code
            self._done.set()


class DockerEngine:
    """See `Engine`."""

    def __init__(self, client: DockerClient, config: LocalAwsConfig, registry: LocalRegistry) -> None:
        self._client = client
        self._environment = config.child_environment()
        del self._environment["PATH"]  # the image's own
        self._registry = registry
        self._labels = {_LABEL: str(config.home)}
        self.close()  # what a stack of this home left when it was killed

    def prepare(self, image: str) -> None:
        """See `Engine`."""
        from docker.errors import DockerException, ImageNotFound
        from requests.exceptions import RequestException

        user, password = self._registry.credentials
        try:
            with contextlib.suppress(ImageNotFound):
                if "@" in image:  # a digest cannot have changed
                    self._client.images.get(image)
                    return
            self._client.images.pull(image, auth_config={"username": user, "password": password})
        except (DockerException, RequestException) as error:
            raise ImageError(f"Requested image {image} cannot be pulled: {error}") from error

    def start(self, job: ContainerJob) -> DockerContainer:
        """See `Engine`."""
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        options: dict[str, Any] = {}
        environment = {**self._environment, **job.environment}
        if job.entrypoint:
            options["entrypoint"] = list(job.entrypoint)
        if job.arguments:
            options["command"] = list(job.arguments)
        if os.getuid():
            # what the container writes must be ours to read and delete
            options["user"] = f"{os.getuid()}:{os.getgid()}"
            environment.setdefault("HOME", "/tmp")  # noqa: S108  # of the container
        try:
            raw = self._client.containers.run(
                job.image,
                name=job.name,
                detach=True,
                network_mode="host",
                environment=environment,
                volumes={str(job.base): {"bind": _ML, "mode": "rw"}},
                labels=self._labels,
                **options,
            )
        except (DockerException, RequestException) as error:
            raise ImageError(f"Image {job.image} cannot be started: {error}") from error
        return DockerContainer(raw, job.log)

    def close(self) -> None:
        """See `Engine`."""
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        label = f"{_LABEL}={self._labels[_LABEL]}"
        with contextlib.suppress(DockerException, RequestException):
            for container in self._client.containers.list(all=True, filters={"label": label}):
                with contextlib.suppress(DockerException):
                    container.remove(v=True, force=True)


def create(config: LocalAwsConfig, registry: LocalRegistry, _children: Children) -> DockerEngine:
    """The engine of one account; Docker is found as its own command finds it."""
    import docker

    return DockerEngine(docker.from_env(), config, registry)
