"""Jobs as SageMaker sets them up, with the real data."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from penguins.columns import Row, read_examples
from penguins.container import Paths
from penguins.program import Program

DATA = Path(__file__).parent / "data"


def make_job(base: Path) -> Paths:
    """A directory as SageMaker mounts it, with the real data."""
    paths = Paths(base)
    shutil.copytree(DATA / "train", paths.training_data)
    shutil.copytree(DATA / "test", paths.test_data)
    return paths


def pack(paths: Paths) -> None:
    """What SageMaker does between training and evaluation."""
    paths.model_archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(paths.model_archive, "w:gz") as tar:
        tar.add(paths.model, arcname=".")


@pytest.fixture(name="paths")
def fixture_paths(tmp_path: Path) -> Paths:
    return make_job(tmp_path)


@pytest.fixture(name="trained", scope="session")
def fixture_trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Program], Paths]:
    """Trains a model once; what it gives is not to be changed by a test."""
    made: dict[str, Paths] = {}

    def trained(program: Program) -> Paths:
        if program.name not in made:
            made[program.name] = make_job(tmp_path_factory.mktemp(program.name))
            program.run("train", made[program.name])
            pack(made[program.name])
        return made[program.name]

    return trained


@pytest.fixture(name="rows", scope="session")
def fixture_rows() -> list[Row]:
    return read_examples(DATA / "test")
