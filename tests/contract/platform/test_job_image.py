"""The image that jobs run in, built by a real engine: every program a template calls is there and works."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops import __version__
from mlops.clients.docker import find_build_command
from mlops.clients.terraform.install import PINNED, find_terraform
from mlops_local.base import paths

# A base image that is there; nothing else can be assumed where no image can be pulled.
BASE = os.environ.get("MLOPS_TEST_BASE_IMAGE", "")
DOCKER_HOST = os.environ.get("DOCKER_HOST", "")
TOOLS = "ml-ops-test-tools:latest"
IMAGE = "ml-ops-test-job-image:latest"

engine = pytest.mark.skipif(
    not BASE or not shutil.which("docker"), reason="no container engine with a base image"
)


def docker(*words: str, given: bytes | None = None) -> str:
    environment = os.environ | ({"DOCKER_HOST": DOCKER_HOST} if DOCKER_HOST else {})
    done = subprocess.run(["docker", *words], input=given, capture_output=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def in_image(*command: str) -> str:
    return docker("run", "--rm", "--network", "host", IMAGE, *command)


def programs() -> bytes:
    """What the images of Docker's client and of Terraform hold, from this machine."""
    client = shutil.which("docker")
    assert client
    members = {
        "usr/local/bin/docker": Path(client).resolve().read_bytes(),
        # BuildKit's plugin is only copied: whether it builds is the engine's matter.
        "usr/local/libexec/docker/cli-plugins/docker-buildx": b"#!/bin/sh\nexit 1\n",
        "bin/terraform": find_terraform(paths.checkout() / ".mlops" / "bin").read_bytes(),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """The image, built from this checkout as the job `job-image` builds it."""
    docker("import", "-", TOOLS, given=programs())
    build = find_build_command(os.environ["PATH"])
    arguments = {
        "BASE_IMAGE": BASE,
        "DOCKER_IMAGE": TOOLS,
        "TERRAFORM_IMAGE": TOOLS,
        "VERSION": "1.2.3",
        "REVISION": "0" * 40,
        "SOURCE": "https://gitlab.example.org/platform/ml-ops",
    }
    words = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    environment = {**os.environ, **build.environment, **({"DOCKER_HOST": DOCKER_HOST} if DOCKER_HOST else {})}
    done = subprocess.run(
        [*build.words, "--network", "host", *words, "--tag", IMAGE, "."],
        cwd=paths.checkout(),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    yield IMAGE
    docker("image", "rm", "--force", IMAGE, TOOLS)


@pytest.mark.docker
@engine
def test_every_program_of_the_templates_is_there(image: str) -> None:
    assert image
    assert in_image("mlops", "--version") == f"mlops {__version__}"
    assert in_image("git", "--version").startswith("git version 2.")
    assert in_image("docker", "--version").startswith("Docker version ")
    assert in_image("terraform", "version", "-json").startswith("{")
    assert in_image("bash", "-c", "command -v bash mktemp")


@pytest.mark.docker
@engine
def test_a_command_works_on_a_clone_of_somebody_else(image: str, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(paths.checkout() / "examples" / "phishing-url", clone)
    for words in (
        ["init", "--quiet"],
        ["add", "--all"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message=feat: a"],
    ):
        subprocess.run(["git", "-C", str(clone), *words], check=True)
    for path in (tmp_path, *clone.rglob("*")):
        path.chmod(path.stat().st_mode | 0o055)  # the runner's helper clones without a umask

    mounted = ("--volume", f"{clone}:/builds:ro", "--workdir", "/builds")
    said = docker("run", "--rm", "--network", "host", *mounted, image, "mlops", "validate")
    head = docker("run", "--rm", "--network", "host", *mounted, image, "git", "rev-parse", "HEAD")

    assert said.startswith("✓ mlops.yml is valid")
    assert len(head) == 40


@pytest.mark.docker
@engine
def test_it_packs_what_airflow_installs(image: str) -> None:
    source = ("--volume", f"{paths.checkout()}:/builds:ro", "--workdir", "/builds")
    code = "import pathlib, mlops.platform.airflow_package as p; p.build(pathlib.Path('/tmp/package'))"
    script = f'python3 -c "{code}" && ls /tmp/package'

    made = docker("run", "--rm", "--network", "host", *source, image, "bash", "-c", script)

    assert made.split() == ["dags", "plugins.zip", "requirements.txt"]


@pytest.mark.docker
@engine
def test_nothing_runs_as_root_and_nothing_of_the_build_is_left(image: str) -> None:
    facts = json.loads(docker("image", "inspect", image))[0]
    labels = facts["Config"]["Labels"]

    assert in_image("id", "-u") == "1000"
    assert facts["Config"]["User"] == "mlops"
    assert labels["org.opencontainers.image.version"] == "1.2.3"
    assert labels["org.opencontainers.image.revision"] == "0" * 40
    assert labels["org.opencontainers.image.source"].endswith("/platform/ml-ops")
    page = f"https://gitlab.example.org/platform/ml-ops/-/blob/{'0' * 40}/docs/reference/exit-codes.md"
    assert in_image("mlops", "train", "--help").endswith(f"Exit codes: {page}")
    assert not facts["Config"].get("Entrypoint")
    assert in_image("bash", "-c", "ls -A /build /root/.cache 2>/dev/null | wc -l") == "0"
    assert in_image("bash", "-c", "ls /opt/mlops/lib/python3*/site-packages | grep -c hatchling || :") == "0"
    # Without bytecode every job would compile the standard library again.
    missing = (
        "import json, argparse, mlops.cli, boto3, gitlab, os, sys;"
        "print([m for m in (json, argparse, mlops.cli, boto3, gitlab)"
        " if not os.path.exists(m.__spec__.cached)])"
    )
    assert in_image("python3", "-c", missing) == "[]"


def test_stages_are_pinned_and_can_be_replaced() -> None:
    text = (paths.checkout() / "Dockerfile").read_text(encoding="utf-8")
    arguments = dict(re.findall(r"^ARG (\w+_IMAGE)=(\S+)$", text, re.MULTILINE))
    froms = re.findall(r"^FROM (\S+)", text, re.MULTILINE)

    assert set(froms) == {f"${{{name}}}" for name in arguments}
    assert all(":" in image and not image.endswith(":latest") for image in arguments.values())
    assert arguments["TERRAFORM_IMAGE"] == f"hashicorp/terraform:{PINNED}"


def test_only_what_the_image_holds_goes_into_the_build() -> None:
    from mlops.clients.docker import ignore_matcher

    ignored = ignore_matcher((paths.checkout() / ".dockerignore").read_text(encoding="utf-8"))

    assert not any(map(ignored, ("LICENSE", "pyproject.toml", "scripts/mlops/cli.py", "requirements/ci.txt")))
    assert all(map(ignored, (".git/config", ".venv/bin/python", "terraform/root/main.tf", "tests/x.py")))
    assert ignored("scripts/mlops/__pycache__/cli.cpython-311.pyc")
