"""Snapshots of accounts: what names one, and which may be used."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mlops_local.base import paths, snapshots
from mlops_local.base.environment import find_environment
from mlops_local.base.places import Places

KEY = "ab" * 32


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "cache", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "accounts"


def test_what_is_kept_is_taken(cache: Path, tmp_path: Path) -> None:
    file = snapshots.keep(KEY, '{"serial": 1}', b"\x80account\n")
    assert (file.stat().st_mode & 0o777, cache.stat().st_mode & 0o777) == (0o600, 0o700)
    copy = tmp_path / "copy"
    found = snapshots.take(KEY, copy)
    assert found is not None
    assert (found.key, found.state, found.account) == (KEY, '{"serial": 1}', b"\x80account\n")
    assert snapshots.read(copy) == found
    assert copy.stat().st_mode & 0o777 == 0o600
    assert snapshots.take("cd" * 32, copy) is None


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def _change(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"account", b"another"))


def _open(file: Path) -> None:
    file.chmod(0o644)


def _rename(file: Path) -> None:
    other = snapshots.keep("cd" * 32, "{}", b"account")
    other.replace(file)


def _empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("spoil", [_cut, _change, _open, _rename, _empty])
def test_what_is_not_as_it_was_written_is_not_taken(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    file = snapshots.keep(KEY, "{}", b"account")
    assert snapshots.take(KEY, tmp_path / "copy") is not None
    spoil(file)
    assert snapshots.take(KEY, tmp_path / "copy") is None


def test_what_another_user_wrote_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots.keep(KEY, "{}", b"account")
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    assert snapshots.take(KEY, tmp_path / "copy") is None


def test_those_used_last_stay(cache: Path, tmp_path: Path) -> None:
    for number in range(20):
        file = snapshots.keep(f"{number:032x}", "{}", b"account")
        os.utime(file, (number, number))
        if number:  # the first one is in use all the time
            assert snapshots.take(f"{0:032x}", tmp_path / "copy") is not None
    left = sorted(int(file.stem, 16) for file in cache.glob("*.snapshot"))
    assert left == [0, *range(15, 20)]
    assert not list(cache.glob("*.part"))


def test_one_makes_it_and_another_waits() -> None:
    order, entered = [], threading.Event()

    def second() -> None:
        entered.set()
        with snapshots.making(KEY, 60):
            order.append("second")

    waiting = threading.Thread(target=second)
    with snapshots.making(KEY, 60):
        waiting.start()
        assert entered.wait(60)
        waiting.join(0.3)
        order.append("first")
    waiting.join(60)
    assert order == ["first", "second"]


def test_nobody_waits_for_ever() -> None:
    with snapshots.making(KEY, 60), snapshots.making(KEY, 0.2):
        pass


def test_everything_that_makes_an_account_is_in_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terraform = tmp_path / "terraform"
    for name in ("root/main.tf", "root/.terraform.lock.hcl", "modules/one/main.tf", "modules/one/README.md"):
        (terraform / name).parent.mkdir(parents=True, exist_ok=True)
        (terraform / name).write_text(name)
    values, package = tmp_path / "values.tfvars", tmp_path / "package.zip"
    values.write_text("a = 1")
    package.write_bytes(b"zip")
    environment = replace(find_environment("local"), values=values)
    monkeypatch.setattr(paths, "checkout", lambda: tmp_path)

    def key(settings: object = None, version: str = "1") -> str:
        monkeypatch.setattr(snapshots, "version", lambda _: version)
        return snapshots.key(environment, {"package": package}, settings)

    seen = [key(), key({"models": {}}), key(version="2")]
    for file in (
        terraform / "root/main.tf",
        terraform / "root/.terraform.lock.hcl",
        terraform / "modules/one/main.tf",
        values,
        package,
    ):
        file.write_text("changed")
        seen.append(key())
    (terraform / "modules" / "two").mkdir()
    (terraform / "modules" / "two" / "main.tf").touch()
    seen.append(key())
    assert len(set(seen)) == len(seen)
    (terraform / "modules" / "one" / "README.md").write_text("changed")
    assert key() == seen[-1]


def test_places_are_marked_and_filled() -> None:
    one = Places.of(Path("/x/dev"), aws_port=4566, gitlab_port=4567, airflow_port=4568)
    other = Places.of(Path("/y/two"), aws_port=1, gitlab_port=2, airflow_port=3)
    text = '"http://127.0.0.1:4566/q", "127.0.0.1:4567", "http://127.0.0.1:4568/runs", "/x/dev/package.zip"'
    assert (
        other.fill(one.mark(text))
        == '"http://127.0.0.1:1/q", "127.0.0.1:2", "http://127.0.0.1:3/runs", "/y/two/package.zip"'
    )
    for beside in ("127.0.0.1:45661", "/x/dev-2/package.zip", "/x/device", "127.0.0.1"):
        assert one.mark(beside) is beside
