"""The container engine: builds with BuildKit through the docker command, pushes through Docker's API.

Pushing through the API keeps the registry's password out of every file and command line.

A daemon pushes the manifest that it has. Docker's own image store makes a Docker manifest of each image. The
containerd store, the default of new installations since Docker 29, keeps what BuildKit made, and BuildKit
makes OCI manifests since version 0.31, unless it is asked for Docker's (`oci-mediatypes=false`) and attests
nothing (https://github.com/moby/buildkit/pull/6824, https://github.com/docker/buildx/pull/3888).
"""

from __future__ import annotations

import collections
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops.base.errors import BuildError, EngineError, RegistryError
from mlops.clients.aws.oci_registry import PLATFORM

if TYPE_CHECKING:
    import docker

    from mlops.clients.aws.oci_registry import Login

# What a person needs of a failed build's log, which is complete above.
_TAIL = 25
# `type=docker` loads the image into the daemon, as `--load` does, which takes no options.
_DOCKER_MANIFEST = ("--output", "type=docker,oci-mediatypes=false", "--provenance=false", "--sbom=false")
_NO_BUILDKIT = (
    "Install the plugin: apt-get install docker-buildx-plugin (Docker's own packages) or docker-buildx."
)


def ignore_matcher(text: str) -> Callable[[str], bool]:
    """Whether the rules of a .dockerignore file keep a path of the context out of the image."""
    from docker.utils.build import PatternMatcher

    lines = [line.strip() for line in text.splitlines()]
    matcher = PatternMatcher([line for line in lines if line and not line.startswith("#")])
    return lambda path: bool(matcher.matches(path))  # type: ignore[arg-type]  # the stubs forget text


@dataclass(frozen=True)
class BuildCommand:
    """A way to build with BuildKit: the words before the options, and what the environment must hold."""

    words: tuple[str, ...]
    environment: Mapping[str, str]


def find_build_command(search_path: str) -> BuildCommand:
    """The first docker on the path that builds with BuildKit.

    With the buildx plugin any version does. Without it, versions before 23 have BuildKit built in.

    Raises:
        EngineError: when there is none.
    """
    found = []
    for directory in search_path.split(os.pathsep):
        program = shutil.which("docker", path=directory)
        if not program or program in found:
            continue
        found.append(program)
        if _output(program, "buildx", "version"):
            return BuildCommand((program, "buildx", "build", *_DOCKER_MANIFEST), {})
        version = _output(program, "version", "--format", "{{.Client.Version}}")
        if version.partition(".")[0].isdecimal() and int(version.partition(".")[0]) < 23:
            return BuildCommand((program, "build"), {"DOCKER_BUILDKIT": "1"})
    if found:
        raise EngineError(f"{found[0]} cannot build with BuildKit", next_step=_NO_BUILDKIT)
    raise EngineError(
        "The docker command is missing",
        cause="no docker on PATH",
        next_step="Install Docker, or use the job image of ml-ops, which has it.",
    )


class DockerDaemon:
    """A Docker daemon, found as docker itself finds it (`DOCKER_HOST` and its kin)."""

    def __init__(
        self, client: docker.DockerClient, command: BuildCommand, say: Callable[[str], None]
    ) -> None:
        self._client = client
        self._command = command
        self._say = say

    @classmethod
    def connect(cls, say: Callable[[str], None]) -> DockerDaemon:
        """Find the build command and the daemon.

        Raises:
            EngineError: when either is missing or does not answer.
        """
        import docker
        from docker.errors import DockerException

        command = find_build_command(os.environ.get("PATH", os.defpath))
        try:
            client = docker.from_env(timeout=600)
            client.ping()
        except DockerException as error:
            raise EngineError(
                "No Docker daemon answers",
                cause=str(error),
                next_step="Start Docker, or set DOCKER_HOST; in CI, check the job's docker:dind service.",
            ) from error
        return cls(client, command, say)

    def build(
        self,
        context: Path,
        dockerfile: Path,
        image: str,
        *,
        labels: Mapping[str, str],
        arguments: Mapping[str, str],
    ) -> None:
        """Build `image` (`<host>/<repository>:<tag>`) into the daemon, for SageMaker's machines.

        Raises:
            BuildError: with the end of BuildKit's log.
        """
        options = ["--progress", "plain", "--platform", PLATFORM]
        options += ["--file", str(dockerfile), "--tag", image]
        for name, value in labels.items():
            options += ["--label", f"{name}={value}"]
        for name in arguments:  # the values go through the environment: a process list shows the words
            options += ["--build-arg", name]
        network = os.environ.get("MLOPS_BUILD_NETWORK")
        if network:
            options += ["--network", network]
        tail: collections.deque[str] = collections.deque(maxlen=_TAIL)
        with subprocess.Popen(
            [*self._command.words, *options, str(context)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, **arguments, **self._command.environment},
        ) as process:
            for line in process.stdout or ():
                tail.append(line.rstrip())
                self._say(line.rstrip())
        if process.returncode:
            cause = "\n".join(line for line in tail if line)
            raise BuildError(
                "The image could not be built",
                cause=cause,
                next_step=_advice(cause, dockerfile.name),
            )

    def push(self, repository: str, tag: str, login: Login) -> None:
        """Push a built image.

        Raises:
            RegistryError: with what the registry said.
        """
        from docker.errors import DockerException

        try:
            answers: Iterator[dict[str, Any]] = self._client.api.push(
                repository,
                tag,
                stream=True,
                decode=True,
                auth_config={"username": login.user, "password": login.password},
            )
            problems = [answer["error"] for answer in answers if "error" in answer]
        except DockerException as error:
            problems = [str(error)]
        if problems:
            raise RegistryError(
                f"The registry did not take {repository}:{tag}",
                cause="; ".join(problems),
                next_step="Look at the cause; the job may be run again.",
            )

    def remove(self, image: str) -> None:
        """Forget an image that was pushed; its layers stay in the build cache."""
        from docker.errors import DockerException

        try:
            self._client.images.remove(image, noprune=True)
        except DockerException as error:
            self._say(f"The daemon keeps {image}: {error}")


def _advice(log: str, dockerfile: str) -> str:
    """What to do about a build that failed."""
    if "exec format error" in log:  # what Linux says of a program for another processor
        return f"Build on a runner for {PLATFORM}, or install its emulation (QEMU, binfmt_misc) there."
    return f"Look at the log above, or try it: docker build --platform {PLATFORM} -f {dockerfile} ."


def _output(*words: str) -> str:
    """What a command says; empty when it fails."""
    try:
        done = subprocess.run(words, capture_output=True, check=False, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    # `docker version` fails where no daemon answers, and names its own version all the same
    return done.stdout.strip() if done.returncode == 0 or words[1] == "version" else ""
