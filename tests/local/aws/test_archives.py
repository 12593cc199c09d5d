"""Archives from outside write nowhere but into their folder."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from mlops_local.base.archives import ArchiveError, pack, unpack


def tar(path: Path, *members: tuple[str, bytes | str, bytes]) -> Path:
    """Members are (name, content or link target, type)."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content, kind in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            if isinstance(content, str):
                member.linkname = content
                archive.addfile(member)
            else:
                member.size, member.mode = len(content), 0o4755
                archive.addfile(member, io.BytesIO(content))
    return path


FILE, LINK, HARD, FOLDER, DEVICE = (
    tarfile.REGTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.DIRTYPE,
    tarfile.CHRTYPE,
)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def test_files_folders_and_inner_links(tmp_path: Path, target: Path) -> None:
    archive = tar(
        tmp_path / "a.tar.gz",
        ("./", b"", FOLDER),
        ("./model/", b"", FOLDER),
        ("./model/a", b"1", FILE),
        ("/absolute", b"2", FILE),
        ("link", "model/a", LINK),
        ("hard", "model/a", HARD),
        ("null", b"", DEVICE),
    )
    unpack(archive, target)
    assert (target / "model/a").read_bytes() == b"1"
    assert (target / "model/a").stat().st_mode & 0o7777 == 0o755
    assert (target / "absolute").read_bytes() == b"2"
    assert (target / "link").read_bytes() == (target / "hard").read_bytes() == b"1"
    assert not (target / "null").exists()


@pytest.mark.parametrize(
    "members",
    [
        [("../escaped", b"x", FILE)],
        [("a/../../escaped", b"x", FILE)],
        [("link", "..", LINK), ("link/escaped", b"x", FILE)],
        [("link", "/tmp", LINK)],
        [("link", "../../etc/passwd", LINK)],
        [("hard", "../secret", HARD)],
        [("hard", "/etc/passwd", HARD)],
    ],
)
def test_nothing_leaves_the_folder(
    tmp_path: Path, target: Path, members: list[tuple[str, bytes | str, bytes]]
) -> None:
    (tmp_path / "secret").write_text("s")
    with pytest.raises(ArchiveError, match="outside its folder"):
        unpack(tar(tmp_path / "a.tar.gz", *members), target)
    assert not (tmp_path / "escaped").exists()


def test_an_upper_layer_removes_what_is_below(tmp_path: Path, target: Path) -> None:
    lower = tar(
        tmp_path / "1", ("a", b"1", FILE), ("b/c", b"1", FILE), ("d/e", b"1", FILE), ("f", b"1", FILE)
    )
    upper = tar(
        tmp_path / "2",
        (".wh.a", b"", FILE),
        ("b/.wh..wh..opq", b"", FILE),
        ("b/new", b"2", FILE),
        ("d", b"now a file", FILE),
        ("f/g", b"", FOLDER),
    )
    unpack(lower, target, layer=True)
    with pytest.raises(ArchiveError):
        unpack(upper, target, layer=True)
    found = sorted(str(path.relative_to(target)) for path in target.rglob("*"))
    assert found == ["b", "b/new", "d", "f"]


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08broken"])
def test_a_broken_archive_says_so(tmp_path: Path, target: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ArchiveError, match="cannot be unpacked"):
        unpack(tmp_path / "a", target)


def test_what_is_packed_comes_back(tmp_path: Path, target: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep/model.bin").write_bytes(b"\0\1")
    pack(source, tmp_path / "a.tar.gz")
    unpack(tmp_path / "a.tar.gz", target)
    assert (target / "deep/model.bin").read_bytes() == b"\0\1"
    with tarfile.open(tmp_path / "a.tar.gz") as archive:
        assert {(member.uid, member.uname) for member in archive} == {(0, "")}
