"""The archive of a job's artifacts, which its job wrote: nothing in it is believed.

It is never unpacked as a whole. The entries asked for are read one by one, and counted while they are read,
because the sizes in an archive are what its maker wrote there.
"""

from __future__ import annotations

import errno
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from mlops.base.errors import ArtifactError

_CHUNK = 1 << 20
# What a bundle holds is compressed already; deflate makes at most a thousandth of anything.
_RATIO = 100
_REGULAR = {0, stat.S_IFREG}
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
# What zipfile raises of bytes that are not an archive, beside EINVAL if an entry lies before its beginning;
# ValueError is for a name which is not text.
_DAMAGED = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    EOFError,
    NotImplementedError,
    ValueError,
    zlib.error,
)
_AGAIN = "Run the upstream's job code again, and then its trigger job."


def extract(archive: Path, wanted: Mapping[str, int], folder: Path) -> None:
    """Write the entries of an archive into a folder; each name has the most bytes it may have.

    Raises:
        ArtifactError: when the archive holds anything else, or anything that is not what it seems.
    """
    try:
        with zipfile.ZipFile(archive) as source:
            entries = source.infolist()
            _check_names(entries, wanted)
            for entry in entries:
                _check(entry, wanted[entry.filename])
                with source.open(entry) as stream:
                    _copy(stream, folder / entry.filename, entry.file_size)
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # as of a disk that is full
            raise
        raise ArtifactError(
            "The upstream's artifact is damaged", cause=str(error) or type(error).__name__, next_step=_AGAIN
        ) from error


def _check_names(entries: list[zipfile.ZipInfo], wanted: Mapping[str, int]) -> None:
    names = [entry.filename for entry in entries]
    for name in names:
        parts = name.replace("\\", "/").split("/")
        if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
            raise ArtifactError(
                "The upstream's artifact reaches out of its folder",
                cause=f"it has an entry {name[:200]!r}",
                next_step="Look at what made it: no runner writes such an archive.",
            )
    if sorted(names) != sorted(wanted):
        raise ArtifactError(
            "The upstream's artifact is not what the job code makes",
            cause=f"expected {', '.join(sorted(wanted))}; found {_shown(names)}",
            next_step="Take the job code from ci-templates/downstream.yml as it is.",
        )


def _check(entry: zipfile.ZipInfo, limit: int) -> None:
    cause = ""
    if stat.S_IFMT(entry.external_attr >> 16) not in _REGULAR:
        cause = "is a link or another kind of file"
    elif entry.flag_bits & 0x1:
        cause = "is encrypted"
    elif entry.compress_type not in _METHODS:
        cause = f"is compressed with method {entry.compress_type}"
    elif entry.file_size > limit:
        cause = f"has {entry.file_size} bytes, and {limit} are allowed"
    elif entry.file_size > _CHUNK and entry.file_size > _RATIO * max(entry.compress_size, 1):
        cause = f"would grow from {entry.compress_size} to {entry.file_size} bytes"
    if cause:
        raise ArtifactError(
            f"{entry.filename} in the upstream's artifact is refused",
            cause=f"it {cause}",
            next_step="Look at what made it; a repository that is too large has to be made smaller.",
        )


def _copy(stream: IO[bytes], target: Path, size: int) -> None:
    """Copy no more than was announced: zipfile itself stops there and checks the checksum."""
    written = 0
    with target.open("xb") as file:
        while chunk := stream.read(_CHUNK):
            written += len(chunk)
            if written > size:
                raise ArtifactError(
                    f"{target.name} in the upstream's artifact is longer than it says", next_step=_AGAIN
                )
            file.write(chunk)
    if written != size:
        raise ArtifactError(
            f"{target.name} in the upstream's artifact is shorter than it says", next_step=_AGAIN
        )


def _shown(names: list[str]) -> str:
    shown = ", ".join(repr(name[:80]) for name in names[:5]) or "nothing"
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
