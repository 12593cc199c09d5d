"""Which docker builds, what .dockerignore keeps out, and what is said when there is no engine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlops.base.errors import BuildError, EngineError
from mlops.clients import docker as engine


def docker(folder: Path, version: str, *, buildx: bool = False) -> str:
    """A directory with a docker command of a version."""
    folder.mkdir()
    program = folder / "docker"
    program.write_text(
        f'#!/bin/sh\ncase "$1" in\n  buildx) {"echo v0.10" if buildx else "exit 1"} ;;\n'
        f'  version) echo {version}; exit 1 ;;\n  *) echo "$0 $* $DOCKER_BUILDKIT $TOKEN"; exit "${{CODE:-0}}" ;;\nesac\n'
    )
    program.chmod(0o755)
    return str(folder)


def test_buildx_is_preferred(tmp_path: Path) -> None:
    found = engine.find_build_command(docker(tmp_path / "new", "28.2.2", buildx=True))
    assert found.words[1:3] == ("buildx", "build")
    assert "--provenance=false" in found.words  # an index instead of an image has no labels of its own
    # what `--load` stands for, and Docker's manifest: SageMaker takes no OCI manifest
    assert found.words[found.words.index("--output") + 1] == "type=docker,oci-mediatypes=false"


def test_an_old_docker_has_buildkit_built_in(tmp_path: Path) -> None:
    path = os.pathsep.join([docker(tmp_path / "new", "28.2.2"), docker(tmp_path / "old", "20.10.24+dfsg1")])
    found = engine.find_build_command(path)
    assert found.words == (str(tmp_path / "old" / "docker"), "build")
    assert found.environment == {"DOCKER_BUILDKIT": "1"}


def test_a_docker_that_cannot_build_with_buildkit(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot build with BuildKit") as caught:
        engine.find_build_command(docker(tmp_path / "new", "28.2.2"))
    assert "docker-buildx" in caught.value.next_step


def test_no_docker(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="docker command is missing"):
        engine.find_build_command(str(tmp_path))


def test_no_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", docker(tmp_path / "new", "28.2.2", buildx=True))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/gone.sock")
    with pytest.raises(EngineError, match="No Docker daemon answers") as caught:
        engine.DockerDaemon.connect(print)
    assert "DOCKER_HOST" in caught.value.next_step


def built(tmp_path: Path, said: list[str], argument: str = "t0p") -> None:
    command = engine.find_build_command(docker(tmp_path / "old", "20.10.24"))
    made = engine.DockerDaemon(None, command, said.append)  # type: ignore[arg-type]  # a build asks the command alone
    made.build(
        tmp_path,
        tmp_path / "Dockerfile",
        "r/x:1.0.0",
        labels={"a": "b"},
        arguments={"TOKEN": argument},
    )


def test_a_build_shows_what_buildkit_says(tmp_path: Path) -> None:
    said: list[str] = []
    built(tmp_path, said)
    (line,) = said
    words = line.split()
    assert words[1:4] == ["build", "--progress", "plain"]
    assert words[words.index("--platform") + 1] == "linux/amd64", "whatever the runner's processor is"
    assert words[words.index("--tag") + 1] == "r/x:1.0.0"
    assert words[words.index("--label") + 1] == "a=b"
    assert words[words.index("--build-arg") + 1] == "TOKEN"
    assert words[-2:] == ["1", "t0p"], "BuildKit is on, and the argument's value is in the environment"


def test_a_build_that_fails_ends_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODE", "1")
    with pytest.raises(BuildError, match="could not be built") as caught:
        built(tmp_path, [])
    assert "--tag r/x:1.0.0" in caught.value.cause
    assert "docker build --platform linux/amd64 -f Dockerfile ." in caught.value.next_step


def test_a_build_on_a_runner_with_another_processor_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODE", "1")
    with pytest.raises(BuildError) as caught:
        built(tmp_path, [], "exec /bin/sh: exec format error")
    assert "a runner for linux/amd64, or install its emulation" in caught.value.next_step


@pytest.mark.parametrize(
    ("rules", "kept", "ignored"),
    [
        ("", ["a"], []),
        ("# all\n\n*\n!keep\n", ["keep", "keep/x"], ["a", "a/b"]),
        ("*.md\n!README.md\n", ["README.md", "a/x.md"], ["x.md"]),
        ("**/*.md", ["a/x.py"], ["x.md", "a/x.md"]),
        ("/tests/\n", ["a/tests"], ["tests", "tests/x"]),
    ],
)
def test_rules_of_dockerignore(rules: str, kept: list[str], ignored: list[str]) -> None:
    matches = engine.ignore_matcher(rules)
    assert [path for path in kept + ignored if matches(path)] == ignored
