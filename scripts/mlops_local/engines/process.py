"""Runs an image's command as a process, where there is no container engine.

The files of the image are unpacked, a virtual environment stands in for its Python, and /opt/ml is where
`SAGEMAKER_BASE_DIR` says. A model's process may have its libraries already: `spares.py`. Nothing isolates
such a process: it runs what its model's author wrote with the rights of the person who started the stack.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from mlops_local.base.children import Children
from mlops_local.base.config import LocalAwsConfig
from mlops_local.engines import ContainerJob, ImageError
from mlops_local.engines.images import Images, UnpackedImage
from mlops_local.engines.spares import SpareKind, Spares, libraries
from mlops_local.engines.venvs import Venvs
from mlops_local.registry.api import LocalRegistry

_ML = "/opt/ml"


class ProcessContainer:
    """A process that stands for a container."""

    def __init__(self, process: subprocess.Popen[bytes], children: Children) -> None:
        self._process = process
        self._children = children

    def wait(self, seconds: float) -> int | None:
        """See `Container`."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._children.stop(self._process, grace=0)  # what it left behind
        # a container that a signal ended says 128 + its number
        return code if code >= 0 else 128 - code

    def stop(self) -> None:
        """See `Container`."""
        self._children.stop(self._process)


class ProcessEngine:
    """See `Engine`."""

    def __init__(self, images: Images, venvs: Venvs, children: Children, environment: dict[str, str]) -> None:
        self._images = images
        self._venvs = venvs
        self._children = children
        self._environment = environment
        self._spares = Spares(children)
        self._libraries: dict[tuple[Path, Path], tuple[str, ...]] = {}

    def prepare(self, image: str) -> None:
        """See `Engine`."""
        self._venv(self._images.unpacked(image))

    def start(self, job: ContainerJob) -> ProcessContainer:
        """See `Engine`."""
        image = self._images.unpacked(job.image)
        venv = self._venv(image)
        command = [*(job.entrypoint or image.entrypoint), *(job.arguments or image.command)]
        if not command:
            raise ImageError(f"Requested image {job.image} has neither entrypoint nor command")
        folder = image.inside(image.folder)
        folder.mkdir(parents=True, exist_ok=True)
        words, variables = [image.located(word) for word in command], self._variables(job, image, venv)
        try:
            process = self._spares.start(
                self._kind(image, folder, venv), words, environment=variables, folder=folder, log=job.log
            )
            if process is None:
                with job.log.open("ab") as log:
                    process = self._children.start(words, environment=variables, folder=folder, stdout=log)
        except OSError as error:
            raise ImageError(f"{command[0]!r} of image {job.image} cannot be started: {error}") from error
        return ProcessContainer(process, self._children)

    def close(self) -> None:
        """See `Engine`; their owner closes the processes."""

    def _venv(self, image: UnpackedImage) -> Path:
        candidates = (image.inside(f"{image.folder}/requirements.txt"), image.inside("/requirements.txt"))
        return self._venvs.ensure(next((one for one in candidates if one.is_file()), None))

    def _kind(self, image: UnpackedImage, folder: Path, venv: Path) -> SpareKind:
        key = (folder, venv)
        if key not in self._libraries:
            (site_packages,) = venv.glob("lib/python3*/site-packages")
            self._libraries[key] = libraries(folder, site_packages)
        variables = {**self._environment, **_own(image), **self._pythons(venv)}
        return SpareKind(venv / "bin" / "python", self._libraries[key], tuple(sorted(variables.items())))

    def _variables(self, job: ContainerJob, image: UnpackedImage, venv: Path) -> dict[str, str]:
        temporary = job.base / "tmp"
        temporary.mkdir(exist_ok=True)
        given = {name: value.replace(_ML, str(job.base)) for name, value in job.environment.items()}
        return {
            **self._environment,
            **_own(image),
            **given,
            **self._pythons(venv),
            "HOME": str(job.base),
            "TMPDIR": str(temporary),
            "SAGEMAKER_BASE_DIR": str(job.base),
        }

    def _pythons(self, venv: Path) -> dict[str, str]:
        return {
            "PATH": f"{venv / 'bin'}:{self._environment['PATH']}",
            "VIRTUAL_ENV": str(venv),
            # the working directory is the image's, shared by all that run it
            "PYTHONDONTWRITEBYTECODE": "1",
        }


def _own(image: UnpackedImage) -> dict[str, str]:
    """The image's variables."""
    return {
        name: ":".join(image.located(part) for part in value.split(":"))
        for name, value in image.environment.items()
        if name != "PATH"
    }


def create(config: LocalAwsConfig, registry: LocalRegistry, children: Children) -> ProcessEngine:
    """The engine of one account."""
    return ProcessEngine(
        Images(config.home / "images", config.registry, registry),
        Venvs(config.cache_folder / "venvs"),
        children,
        config.child_environment(),
    )
