"""The same with a real engine: BuildKit builds, the daemon pushes, the registry decides."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from mlops.base.errors import BuildError
from mlops.ci.pipeline import Pipeline
from mlops.clients.aws.oci_registry import Registry
from mlops.images.builders import KEY_LABEL, REVISION_LABEL, BuildSource, DockerBuilder
from mlops.images.containerize import ContainerizedImage, containerize, read_source
from mlops.manifest import reader

from .conftest import LocalRegistry, ModelRepository
from .test_containerize import MAIN

# A base image that is there; nothing else can be assumed where no image can be pulled.
BASE = os.environ.get("MLOPS_TEST_BASE_IMAGE", "")

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(
        not BASE or not shutil.which("docker"), reason="no container engine with a base image"
    ),
]

DOCKER_HOST = os.environ.get("DOCKER_HOST", "")


@pytest.fixture(autouse=True)
def _engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_BUILD_NETWORK", "host")
    if DOCKER_HOST:
        monkeypatch.setenv("DOCKER_HOST", DOCKER_HOST)


def source_of(repository: ModelRepository) -> BuildSource:
    model = reader.load(repository.root / "mlops.yml").model()
    return read_source(model, Pipeline.from_environment(MAIN), {"BASE_IMAGE": BASE}, "docker")


def push(repository: ModelRepository, registry: Registry) -> ContainerizedImage:
    return containerize(source_of(repository), registry, DockerBuilder())


def test_a_real_image_is_built_and_pushed(
    local: LocalRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import docker

    repository, registry = ModelRepository(tmp_path / "model", "built"), local.repository("built")
    leftover = repository.root / "phish" / "leftover.txt"
    leftover.write_text("not committed\n")
    result = push(repository, registry)
    leftover.unlink()
    assert (str(result.version), result.built) == ("1.0.0", True)
    labels = registry.labels(result.digest)
    assert labels[REVISION_LABEL] == repository.git("rev-parse", "HEAD")
    assert labels[KEY_LABEL] == source_of(repository).content.key
    assert registry.flaw(result.digest) == "", "SageMaker takes it"
    assert "is not pinned by a digest" in capsys.readouterr().err

    client: Any = docker.from_env()
    uri = f"{registry.uri}@{result.digest}"
    grant = {"username": registry.login.user, "password": registry.login.password}
    client.images.pull(uri, auth_config=grant)
    try:
        shown = client.containers.run(
            uri, entrypoint=["ls", "/opt/program/phish"], remove=True, network_mode="host"
        )
        assert shown.decode().split() == ["__main__.py"]
        attributes = client.images.get(uri).attrs["Config"]
        assert attributes["Entrypoint"] == ["python3", "-m", "phish"]
    finally:
        client.images.remove(uri, force=True)

    repository.commit("docs: words", "README.md")
    assert not push(repository, registry).built
    repository.commit("feat: more")
    assert str(push(repository, registry).version) == "1.1.0"


def test_a_taken_version_is_a_race_with_a_real_engine_too(local: LocalRegistry, tmp_path: Path) -> None:
    repository, registry = ModelRepository(tmp_path / "model", "lost"), local.repository("lost")
    rival = ModelRepository(tmp_path / "rival", "lost")
    rival.commit("fix: theirs", content="print('theirs')\n")

    class Late(DockerBuilder):
        """Somebody else releases while this one builds."""

        def publish(self, source: BuildSource, version: Any, registry: Registry) -> None:
            if not list(registry.images()):
                push(rival, Registry(local.client(), registry.repository))
            super().publish(source, version, registry)

    result = containerize(source_of(repository), registry, Late())
    assert result.built
    assert result.version > type(result.version)(1)
    assert len(list(registry.images())) == 2


def test_a_build_that_fails_shows_why(local: LocalRegistry, tmp_path: Path) -> None:
    repository, registry = ModelRepository(tmp_path / "model", "broken"), local.repository("broken")
    text = (repository.root / "Dockerfile").read_text()
    repository.commit("fix: x", "Dockerfile", text + "RUN echo no such thing >&2; exit 7\n")
    with pytest.raises(BuildError, match="could not be built") as caught:
        push(repository, registry)
    assert "no such thing" in caught.value.cause
    assert list(registry.images()) == []
