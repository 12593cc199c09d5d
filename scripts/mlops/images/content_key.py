"""The content key: one hash of everything that goes into an image, computed without building it.

Equal keys mean equal images, so an unchanged model costs one question to the registry. The key covers the
committed files that .dockerignore lets through, the Dockerfile (with the digests its base images are pinned
to), the build arguments, the platform and what assembles it. A base image that is not pinned can change
unnoticed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlops.base.errors import SourceError
from mlops.clients.aws.oci_registry import PLATFORM
from mlops.clients.docker import ignore_matcher
from mlops.clients.git.repository import File, Repository
from mlops.manifest.reader import Model

# Of the second scheme, an image has a manifest and a processor that SageMaker takes before it gets its key.
# What a key of the first scheme leads to may have neither, and is not looked for.
_SCHEME = f"ml-ops content 2 {PLATFORM}"
_SUBMODULE = "160000"
_ARG = re.compile(r"^\s*ARG\s+(\w+)(?:=(\S+))?", re.IGNORECASE)
_FROM = re.compile(r"^\s*FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?", re.IGNORECASE)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@dataclass(frozen=True, kw_only=True)
class Content:
    """What an image of one commit is made of; all paths are from the repository's root."""

    key: str
    context: str
    dockerfile: str
    files: tuple[str, ...]
    """Of the context, after .dockerignore."""
    ignore_file: str
    """The ignore file that counts; empty when there is none."""
    unpinned: tuple[str, ...]
    """Base images without a digest."""
    ignored: Callable[[str], bool]

    @property
    def paths(self) -> tuple[str, ...]:
        """Where commits are looked for."""
        return tuple(dict.fromkeys((self.context, self.dockerfile, *filter(None, [self.ignore_file]))))

    def matters(self, path: str) -> bool:
        """Whether a change of this path is a change of the image."""
        return path in {self.dockerfile, self.ignore_file} or (
            _inside(path, self.context) and not self.ignored(_below(path, self.context))
        )


def read_content(
    repository: Repository, model: Model, build_arguments: Mapping[str, str], assembler: str
) -> Content:
    """The content of a model's image at the repository's commit.

    Args:
        repository: A clone.
        model: Says where context and Dockerfile are.
        build_arguments: As given to the build.
        assembler: What makes the image, `docker` or `process`: they make different images of one source.

    Raises:
        SourceError: when the Dockerfile or the context is not committed, or holds a submodule.
    """
    base = model.directory.resolve().relative_to(repository.root.resolve()).as_posix()
    context, dockerfile = _join(base, model.image.context), _join(base, model.dockerfile)
    found = {file.path: file for file in repository.files(context, dockerfile, f"{dockerfile}.dockerignore")}
    if dockerfile not in found:
        raise SourceError(
            f"There is no {dockerfile} in commit {repository.head[:8]}",
            next_step="Commit it, or name the right one as image.dockerfile in mlops.yml.",
        )
    # BuildKit prefers the one beside the Dockerfile:
    # https://docs.docker.com/build/concepts/context/#filename-and-location
    candidates = (f"{dockerfile}.dockerignore", _join(context, ".dockerignore"))
    ignore_file = next((path for path in candidates if path in found), "")
    ignored = ignore_matcher(repository.text(found[ignore_file])) if ignore_file else _nothing
    files = [
        file
        for file in found.values()
        if _inside(file.path, context) and not ignored(_below(file.path, context))
    ]
    if not files:
        raise SourceError(
            f"The image's context {context} has no committed file",
            next_step="Commit its files, or look at .dockerignore and at image.context in mlops.yml.",
        )
    for file in files:
        if file.mode == _SUBMODULE:
            raise SourceError(
                f"The image's context holds the submodule {file.path}",
                next_step="List it in .dockerignore, or commit its files instead.",
            )
    return Content(
        key=_key(found[dockerfile], files, context, build_arguments, assembler),
        context=context,
        dockerfile=dockerfile,
        files=tuple(file.path for file in files),
        ignore_file=ignore_file,
        unpinned=unpinned_bases(repository.text(found[dockerfile]), build_arguments),
        ignored=ignored,
    )


def unpinned_bases(dockerfile: str, build_arguments: Mapping[str, str]) -> tuple[str, ...]:
    """The base images of a Dockerfile that no digest pins."""
    arguments: dict[str, str] = {}
    stages, bases = {"scratch"}, []
    for line in dockerfile.splitlines():
        if match := _FROM.match(line):
            image = _VARIABLE.sub(lambda name: arguments.get(name[1] or name[2], ""), match[1])
            if image.lower() not in stages and "@sha256:" not in image:
                bases.append(image)
            stages.add((match[2] or "").lower())
        elif not bases and (match := _ARG.match(line)):
            arguments[match[1]] = build_arguments.get(match[1], (match[2] or "").strip("\"'"))
    return tuple(dict.fromkeys(bases))


def _key(
    dockerfile: File, files: list[File], context: str, build_arguments: Mapping[str, str], assembler: str
) -> str:
    parts = [
        _SCHEME,
        assembler,
        f"dockerfile {dockerfile.blob}",
        *(f"argument {name}={value}" for name, value in sorted(build_arguments.items())),
        *sorted(f"{file.mode} {file.blob} {_below(file.path, context)}" for file in files),
    ]
    text = "".join(f"{len(part)} {part}\n" for part in parts)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def _nothing(_: str) -> bool:
    return False


def _join(directory: str, path: str) -> str:
    return (Path(directory) / path).as_posix()


def _inside(path: str, directory: str) -> bool:
    return directory == "." or path.startswith(f"{directory}/")


def _below(path: str, directory: str) -> str:
    return path if directory == "." else path.removeprefix(f"{directory}/")
