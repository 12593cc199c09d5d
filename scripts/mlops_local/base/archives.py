"""Tar archives from outside: layers of images and model.tar.gz."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path, PurePosixPath

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


class ArchiveError(Exception):
    """An archive that is broken or wants to write outside its folder."""


def unpack(archive: Path, folder: Path, *, layer: bool = False) -> None:
    """Unpack into an existing folder; whatever would land outside it is an error.

    Only folders, files and links are made, without owners or special bits.

    Args:
        layer: Follow the whiteouts of an image's layer: `.wh.name` removes `name`.

    Raises:
        ArchiveError: when it cannot be read, or holds something unsafe.
    """
    root = folder.resolve()
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                _place(tar, member, root, layer)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ArchiveError(f"it cannot be unpacked: {error}") from error


def pack(folder: Path, archive: Path) -> None:
    """Make a tar.gz of a folder's content, for a start without what a tar keeps of its maker."""

    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(archive, "w:gz", compresslevel=6) as tar:
        for item in sorted(folder.iterdir()):
            tar.add(item, item.name, filter=anonymous)


def _place(tar: tarfile.TarFile, member: tarfile.TarInfo, root: Path, layer: bool) -> None:
    parts = PurePosixPath(member.name.lstrip("/")).parts
    if ".." in parts:
        raise ArchiveError(f"it holds {member.name!r}, outside its folder")
    target = root.joinpath(*parts)
    if target == root:
        return
    # a link that came earlier may lead the parent elsewhere
    if not target.parent.resolve().is_relative_to(root):
        raise ArchiveError(f"it holds {member.name!r}, outside its folder")
    if layer and target.name.startswith(_WHITEOUT):
        _white_out(target)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if member.isdir():
        if target.is_symlink() or target.is_file():
            target.unlink()
        target.mkdir(exist_ok=True)
        return
    _remove(target)
    if member.issym() or member.islnk():
        _link(member, target, root)
    elif member.isfile():
        content = tar.extractfile(member)
        assert content is not None  # noqa: S101  # it is a file
        with target.open("wb") as file:
            shutil.copyfileobj(content, file)
        target.chmod(0o755 if member.mode & 0o100 else 0o644)


def _link(member: tarfile.TarInfo, target: Path, root: Path) -> None:
    start = target.parent if member.issym() else root
    origin = (start / member.linkname).resolve()
    if not origin.is_relative_to(root):
        raise ArchiveError(f"it holds a link {member.name!r} to {member.linkname!r}, outside its folder")
    if member.issym():
        target.symlink_to(member.linkname)
    else:
        target.hardlink_to(origin)


def _white_out(target: Path) -> None:
    if target.name == _OPAQUE:
        if target.parent.is_dir():
            for item in target.parent.iterdir():
                _remove(item)
    else:
        _remove(target.with_name(target.name.removeprefix(_WHITEOUT)))


def _remove(target: Path) -> None:
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
