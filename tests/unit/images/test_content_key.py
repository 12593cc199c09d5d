"""The content key changes with what goes into the image, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.base.errors import SourceError
from mlops.clients.git.repository import Repository
from mlops.images.content_key import Content, read_content, unpinned_bases
from mlops.manifest import reader

from .model import DOCKERFILE, MANIFEST, ModelRepository


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    return ModelRepository(tmp_path / "model")


def content(
    repository: ModelRepository,
    arguments: dict[str, str] | None = None,
    assembler: str = "docker",
    below: str = ".",
) -> Content:
    model = reader.load(repository.root / below / "mlops.yml").model()
    return read_content(Repository.open(repository.root), model, arguments or {}, assembler)


def test_what_goes_in(repository: ModelRepository) -> None:
    found = content(repository)
    assert found.files == (".dockerignore", "phish/__main__.py")
    assert found.unpinned == ()
    assert found.matters("phish/new.py")
    assert found.matters("Dockerfile")
    assert found.matters(".dockerignore")
    assert not found.matters("README.md")
    assert not found.matters("phish/__pycache__/x.pyc")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("README.md", "More words.\n"),
        ("tests/test_phish.py", "def test(): ...\n"),
        ("mlops.yml", MANIFEST + "# a comment\n"),
        ("phish/__pycache__/main.pyc", "x"),
    ],
)
def test_what_is_not_in_the_image_changes_nothing(repository: ModelRepository, path: str, text: str) -> None:
    before = content(repository).key
    repository.commit("docs: x", path, text)
    assert content(repository).key == before


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("phish/__main__.py", "print(1)\n"),
        ("phish/new.py", ""),
        ("Dockerfile", DOCKERFILE.replace("sha256:0", "sha256:1")),
        (".dockerignore", "*\n!phish\n!README.md\n"),
    ],
)
def test_what_is_in_the_image_changes_the_key(repository: ModelRepository, path: str, text: str) -> None:
    repository.commit("docs: x", "README.md", "Words.\n")
    before = content(repository).key
    repository.commit("feat: x", path, text)
    assert content(repository).key != before


def test_the_same_content_has_the_same_key_in_another_commit(repository: ModelRepository) -> None:
    before = content(repository).key
    repository.commit("feat: x", "phish/__main__.py", "print(1)\n")
    repository.commit("revert: x", "phish/__main__.py", "print()\n")
    assert content(repository).key == before


def test_a_program_becomes_executable(repository: ModelRepository) -> None:
    before = content(repository).key
    repository.git("update-index", "--chmod=+x", "phish/__main__.py")
    repository.git("commit", "--quiet", "--message", "fix: mode")
    assert content(repository).key != before


def test_edits_and_leftovers_of_the_work_tree_are_not_in_it(repository: ModelRepository) -> None:
    before = content(repository).key
    (repository.root / "phish" / "__main__.py").write_text("edited\n")
    (repository.root / "phish" / "report.xml").write_text("left over\n")
    assert content(repository).key == before


def test_arguments_and_the_assembler_count(repository: ModelRepository) -> None:
    keys = {
        content(repository, arguments, assembler).key
        for arguments in ({}, {"A": "1"}, {"A": "2"}, {"B": "1"}, {"A": "1\nB=2"}, {"A": "1", "B": "2"})
        for assembler in ("docker", "process")
    }
    assert len(keys) == 12


def test_a_model_in_a_folder(repository: ModelRepository) -> None:
    for path, text in (
        (
            "models/a/mlops.yml",
            MANIFEST.replace(
                "    training:", "    image: {context: src, dockerfile: Dockerfile}\n    training:"
            ),
        ),
        ("models/a/Dockerfile", DOCKERFILE),
        ("models/a/Dockerfile.dockerignore", "*.md\n"),
        ("models/a/src/.dockerignore", "*.py\n"),
        ("models/a/src/x.py", "x"),
        ("models/a/src/x.md", "x"),
        ("models/b/x.py", "x"),
    ):
        repository.commit("feat: x", path, text)
    found = content(repository, below="models/a")
    assert found.files == ("models/a/src/.dockerignore", "models/a/src/x.py")
    assert found.ignore_file == "models/a/Dockerfile.dockerignore"
    assert found.paths == ("models/a/src", "models/a/Dockerfile", "models/a/Dockerfile.dockerignore")
    assert not found.matters("models/b/x.py")


def test_no_dockerfile(repository: ModelRepository) -> None:
    repository.git("rm", "--quiet", "Dockerfile")
    repository.git("commit", "--quiet", "--message", "x")
    with pytest.raises(SourceError, match="There is no Dockerfile in commit") as caught:
        content(repository)
    assert "image.dockerfile" in caught.value.next_step


def test_nothing_in_the_context(repository: ModelRepository) -> None:
    repository.commit(
        "x",
        "mlops.yml",
        MANIFEST.replace(
            "    training:", "    image: {context: gone, dockerfile: Dockerfile}\n    training:"
        ),
    )
    with pytest.raises(SourceError, match="context gone has no committed file"):
        content(repository)


def test_a_submodule(repository: ModelRepository) -> None:
    head = repository.git("rev-parse", "HEAD")
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{head},phish/library")
    repository.git("commit", "--quiet", "--message", "x")
    with pytest.raises(SourceError, match="holds the submodule phish/library"):
        content(repository)


@pytest.mark.parametrize(
    ("dockerfile", "arguments", "unpinned"),
    [
        ("FROM python:3.11\n", {}, ("python:3.11",)),
        ("FROM python:3.11@sha256:00\n", {}, ()),
        ("FROM scratch\n", {}, ()),
        ("FROM --platform=linux/amd64 a AS build\nFROM build\nFROM b\n", {}, ("a", "b")),
        ("ARG BASE=python:3.11\nFROM ${BASE}\n", {}, ("python:3.11",)),
        ('ARG BASE="python:3.11"\nFROM $BASE\n', {"BASE": "x@sha256:00"}, ()),
        ("arg TAG=3.11\nfrom python:${TAG} as Build\nfrom build", {}, ("python:3.11",)),
    ],
)
def test_bases_that_no_digest_pins(
    dockerfile: str, arguments: dict[str, str], unpinned: tuple[str, ...]
) -> None:
    assert unpinned_bases(dockerfile, arguments) == unpinned
