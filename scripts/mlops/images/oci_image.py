"""An image of the source, assembled without a container engine, of the one kind that SageMaker takes.

It has no base image: what runs it must bring Python and the requirements, as the local stack does when it
runs jobs as processes. Entrypoint, variables and working directory are the Dockerfile's, and the files of
the context lie in the working directory. The same source always makes the same layer, byte for byte.
https://distribution.github.io/distribution/spec/manifest-v2-2/
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shlex
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mlops.base.errors import BuildError
from mlops.clients.aws.oci_registry import MANIFEST_TYPE, PLATFORM

CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """What a Dockerfile's last stage says of how the image runs."""

    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    environment: Mapping[str, str]
    working_directory: str


@dataclass(frozen=True, kw_only=True)
class AssembledImage:
    """A manifest and its blobs by digest, ready to be pushed."""

    manifest: bytes
    blobs: Mapping[str, bytes]


def read_settings(dockerfile: str, build_arguments: Mapping[str, str]) -> ImageConfig:
    """Read the last stage of a Dockerfile.

    Raises:
        BuildError: when it has no FROM or no ENTRYPOINT, or cannot be parsed.
    """
    from dockerfile_parse import DockerfileParser  # type: ignore[import-untyped]

    parser = DockerfileParser(
        fileobj=io.BytesIO(dockerfile.encode()),
        parent_env={"PATH": _PATH},
        build_args=dict(build_arguments),
    )
    try:
        instructions: list[dict[str, Any]] = parser.structure
        environment = dict(parser.envs)
    except (ValueError, KeyError, IndexError) as error:
        raise BuildError("The Dockerfile cannot be read", cause=str(error)) from error
    starts = [index for index, one in enumerate(instructions) if one["instruction"] == "FROM"]
    if not starts:
        raise BuildError("The Dockerfile has no FROM", next_step="Begin it with a base image.")
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    directory = PurePosixPath("/")
    for one in instructions[starts[-1] :]:
        if one["instruction"] == "ENTRYPOINT":
            entrypoint = _words(one["value"])
        elif one["instruction"] == "CMD":
            command = _words(one["value"])
        elif one["instruction"] == "WORKDIR":
            directory /= _expand(one["value"], environment)
    if not entrypoint:
        raise BuildError(
            "The Dockerfile has no ENTRYPOINT",
            cause="jobs start the image with one word: train, evaluate or serve",
            next_step='Add one, such as ENTRYPOINT ["python", "-m", "phishing_url"].',
        )
    if ".." in directory.parts:
        raise BuildError(
            f"The Dockerfile's WORKDIR {directory} is not valid", next_step="Write it without `..`."
        )
    return ImageConfig(
        entrypoint=entrypoint, command=command, environment=environment, working_directory=str(directory)
    )


def assemble(
    root: Path, files: Sequence[str], settings: ImageConfig, labels: Mapping[str, str]
) -> AssembledImage:
    """Make an image of files below `root`, named by their paths in the working directory.

    Raises:
        BuildError: when a file is missing.
    """
    try:
        archive = _archive(root, files, settings.working_directory)
    except OSError as error:
        raise BuildError("The source cannot be packed", cause=str(error)) from error
    layer = gzip.compress(archive, mtime=0)
    system, architecture = PLATFORM.split("/")
    config = _json(
        {
            "architecture": architecture,
            "os": system,
            "config": {
                "Entrypoint": list(settings.entrypoint),
                "Cmd": list(settings.command),
                "Env": [f"{name}={value}" for name, value in settings.environment.items()],
                "WorkingDir": settings.working_directory,
                "Labels": dict(labels),
            },
            "rootfs": {"type": "layers", "diff_ids": [_digest(archive)]},
            "history": [{"created_by": "mlops containerize, without a container engine"}],
        }
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _descriptor(CONFIG_TYPE, config),
        "layers": [_descriptor(LAYER_TYPE, layer)],
    }
    return AssembledImage(manifest=_json(manifest), blobs={_digest(layer): layer, _digest(config): config})


def _archive(root: Path, files: Sequence[str], directory: str) -> bytes:
    """A tar in the order of names, with nothing of this machine in it: no owner, no time, no umask."""
    below = PurePosixPath(directory).relative_to("/")
    names = {below / file: root / file for file in files}
    folders = {parent for name in names for parent in name.parents if parent.parts}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted({*names, *folders}):
            member = tarfile.TarInfo(str(name))
            if name not in names:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
            elif names[name].is_symlink():
                member.type, member.linkname = tarfile.SYMTYPE, str(names[name].readlink())
                archive.addfile(member)
            else:
                content = names[name].read_bytes()
                member.size = len(content)
                member.mode = 0o755 if names[name].stat().st_mode & 0o100 else 0o644
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _words(value: str) -> tuple[str, ...]:
    """The words of the exec form, or the shell that the other form stands for."""
    try:
        words = json.loads(value)
    except ValueError:
        return ("/bin/sh", "-c", value)
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        return tuple(words)
    return tuple(shlex.split(value))


def _expand(text: str, environment: Mapping[str, str]) -> str:
    for name, value in environment.items():
        text = text.replace(f"${{{name}}}", value)
        text = value if text == f"${name}" else text
    return text.strip("\"'")


def _json(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}
