"""Jobs as SageMaker sets them up, with the real data."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

from phishing_url.container import Identity, Paths
from phishing_url.features import Site, read_examples
from phishing_url.train import train

DATA = Path(__file__).parent.parent / "data"


def make_job(base: Path) -> Paths:
    """A directory as SageMaker mounts it, with the real data."""
    paths = Paths(base)
    shutil.copytree(DATA / "train", paths.training_data)
    shutil.copytree(DATA / "test", paths.test_data)
    return paths


@pytest.fixture(name="paths")
def fixture_paths(tmp_path: Path) -> Paths:
    return make_job(tmp_path)


@pytest.fixture(name="trained", scope="session")
def fixture_trained(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """The real model, trained once; not to be changed by a test."""
    paths = make_job(tmp_path_factory.mktemp("opt-ml"))
    train(paths, Identity("phishing-url", "1.0.0+retrain.0", "s3://bucket/data/train/", "f00d"))
    paths.model_archive.parent.mkdir()
    with tarfile.open(paths.model_archive, "w:gz") as tar:
        tar.add(paths.model, arcname=".")
    return paths


@pytest.fixture(name="sites", scope="session")
def fixture_sites() -> list[Site]:
    return read_examples(DATA / "test")[0]
