"""Archives that are not what a runner makes: each is refused by name, and nothing is written outside."""

from __future__ import annotations

import contextlib
import io
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops.base.errors import ArtifactError
from mlops.clients.gitlab.artifacts import extract

from .upstreams import zipped

MB = 1 << 20
WANTED = {"code.bundle": 8 * MB, "code.sha256": 200}
GOOD = {"code.bundle": b"bundle", "code.sha256": b"sum"}


def unpack(tmp_path: Path, content: bytes) -> Path:
    (tmp_path / "artifacts.zip").write_bytes(content)
    folder = tmp_path / "out"
    folder.mkdir()
    extract(tmp_path / "artifacts.zip", WANTED, folder)
    return folder


def refused(tmp_path: Path, content: bytes) -> str:
    with pytest.raises(ArtifactError) as caught:
        unpack(tmp_path, content)
    return f"{caught.value.what}: {caught.value.cause}"


def test_a_runners_archive_is_unpacked(tmp_path: Path) -> None:
    folder = unpack(tmp_path, zipped(GOOD))

    assert {file.name: file.read_bytes() for file in folder.iterdir()} == GOOD


@pytest.mark.parametrize(
    "name",
    ["../code.bundle", "/etc/cron.d/x", "a/../../x", "..\\x", "\\x", "C:\\x", "code.bundle/../../x"],
)
def test_an_entry_that_leaves_the_folder(tmp_path: Path, name: str) -> None:
    assert "reaches out of its folder" in refused(tmp_path, zipped({**GOOD, name: b"x"}))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["artifacts.zip", "out"]
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "entries",
    [{}, {"code.bundle": b"x"}, {**GOOD, "more": b""}, {**GOOD, "code.bundle/": b""}],
)
def test_other_entries_than_the_jobs(tmp_path: Path, entries: dict[str, bytes]) -> None:
    assert "not what the job code makes" in refused(tmp_path, zipped(entries))


def test_one_name_twice(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        target.writestr("code.sha256", b"x")
        for content in (b"one", b"two"):
            with pytest.warns(UserWarning, match="Duplicate") if content == b"two" else _nothing():
                target.writestr("code.bundle", content)

    assert "not what the job code makes" in refused(tmp_path, file.getvalue())


class _nothing:  # noqa: N801  # reads as a word of the test
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def as_kind(kind: int) -> Callable[[zipfile.ZipInfo], None]:
    def change(entry: zipfile.ZipInfo) -> None:
        entry.external_attr = (kind | 0o777) << 16

    return change


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR])
def test_an_entry_that_is_no_file(tmp_path: Path, kind: int) -> None:
    assert "is a link or another kind of file" in refused(tmp_path, zipped(GOOD, as_kind(kind)))


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    bomb = zipped({**GOOD, "code.bundle": bytes(7 * MB)})
    assert len(bomb) < MB / 50

    assert "would grow from" in refused(tmp_path, bomb)
    assert list((tmp_path / "out").iterdir()) == []


def test_more_bytes_than_allowed(tmp_path: Path) -> None:
    assert "bytes, and 200 are allowed" in refused(tmp_path, zipped({**GOOD, "code.sha256": b"x" * 201}))


def test_a_bomb_that_lies_about_its_size(tmp_path: Path) -> None:
    """The sizes in the archive say 10 bytes; what is compressed there is a million."""
    honest = zipped({"code.bundle": b"0" * MB, "code.sha256": b"sum"})
    size = MB.to_bytes(4, "little")
    assert honest.count(size) >= 1

    told = refused(tmp_path, honest.replace(size, (10).to_bytes(4, "little")))

    assert "damaged" in told
    assert sum(file.stat().st_size for file in (tmp_path / "out").iterdir()) <= 10


@pytest.mark.parametrize("position", [42, -22, -10])
def test_a_damaged_archive(tmp_path: Path, position: int) -> None:
    content = bytearray(zipped(GOOD))
    content[position] ^= 0xFF

    with pytest.raises(ArtifactError):
        unpack(tmp_path, bytes(content))


def test_a_cut_off_archive(tmp_path: Path) -> None:
    assert "damaged" in refused(tmp_path, zipped(GOOD)[:-30])


def test_an_encrypted_entry(tmp_path: Path) -> None:
    content = bytearray(zipped(GOOD))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1

    assert "is encrypted" in refused(tmp_path, bytes(content))


def test_a_method_no_runner_uses(tmp_path: Path) -> None:
    def bzip2(entry: zipfile.ZipInfo) -> None:
        entry.compress_type = zipfile.ZIP_BZIP2

    assert "method 12" in refused(tmp_path, zipped(GOOD, bzip2))


def test_whatever_byte_of_an_archive_is_wrong_it_is_no_crash(tmp_path: Path) -> None:
    """Every byte of the archive's own records, one after the other, and some of them together."""
    good = zipped(GOOD)
    archive, out = tmp_path / "artifacts.zip", tmp_path / "out"
    out.mkdir()
    for place in range(len(good)):
        for value in (0, 0xFF, 0xA4):
            damaged = bytearray(good)
            damaged[place] = value
            if value == 0xA4:
                damaged[place * 7 % len(good)] = 0xC2
            archive.write_bytes(damaged)
            with contextlib.suppress(ArtifactError):
                extract(archive, WANTED, out)
            for file in out.iterdir():
                file.unlink()


def test_an_entry_that_begins_before_the_archive(tmp_path: Path) -> None:
    content = bytearray(zipped(GOOD))
    end = content.rindex(b"PK\x05\x06")
    said = int.from_bytes(content[end + 16 : end + 20], "little")
    content[end + 16 : end + 20] = (said + 1).to_bytes(4, "little")

    assert "damaged" in refused(tmp_path, bytes(content))


def test_a_full_disk_is_not_the_archives_fault(tmp_path: Path) -> None:
    (tmp_path / "artifacts.zip").write_bytes(zipped(GOOD))

    with pytest.raises(FileNotFoundError):
        extract(tmp_path / "artifacts.zip", WANTED, tmp_path / "missing")
