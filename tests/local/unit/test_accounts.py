"""Where a stack's account comes from: a snapshot, or Terraform."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

from mlops.platform import lambda_package
from mlops_local.base import paths, snapshots
from mlops_local.base.environment import find_environment
from mlops_local.stack import accounts, terraform
from mlops_local.stack.stack import SNAPSHOT, Stack

LOCAL = find_environment("local")
STATE = '{"outputs": {"url": {"value": "%s"}, "package": {"value": "%s"}}}'


class LocalAws:
    """Writes its account on request, as the real one does."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.status = 200
        self.server = make_server("127.0.0.1", 0, self.answer)

    def answer(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        assert (environ["REQUEST_METHOD"], environ["PATH_INFO"]) == ("POST", "/_mlops/account")
        (self.home / "account").write_bytes(b"account")
        return Response('{"error": "SageMaker has jobs"}', status=self.status)(environ, start_response)


class Terraform:
    """Makes a state as an apply does, and counts."""

    def __init__(self) -> None:
        self.applies = 0
        self.meanwhile: Callable[[], object] = int

    def apply(self, home: Path, aws_endpoint: str, package: Path, *_: Any, **__: Any) -> dict[str, Any]:
        self.applies += 1
        self.meanwhile()
        terraform.state(home).parent.mkdir(parents=True, exist_ok=True)
        terraform.state(home).write_text(STATE % (aws_endpoint, package))
        return {"url": aws_endpoint, "package": str(package)}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "cache", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "accounts"


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Terraform:
    fake = Terraform()
    monkeypatch.setattr(terraform, "apply", fake.apply)
    return fake


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[LocalAws]:
    (tmp_path / "one" / "aws").mkdir(parents=True)
    fake = LocalAws(tmp_path / "one" / "aws")
    thread = threading.Thread(target=fake.server.serve_forever, daemon=True)
    thread.start()
    yield fake
    fake.server.shutdown()
    thread.join()
    fake.server.server_close()


def stack(home: Path, port: int, snapshot: str = "") -> Stack:
    return Stack(
        name=home.name,
        home=str(home),
        engine="process",
        pid=1,
        started=1.0,
        aws_port=port,
        gitlab_port=40001,
        airflow_port=40002,
        snapshot=snapshot,
    )


def start(home: Path, port: int, *, fresh: bool = False, reads: bool = True) -> tuple[bool, dict[str, Any]]:
    """Whether the account came from a snapshot, and its outputs; the local AWS may fail to read what it is given."""
    with accounts.begin(home, LOCAL, fresh=fresh) as account:
        given = snapshots.read(home / SNAPSHOT) if (home / SNAPSHOT).exists() else None
        outputs = account.outputs(stack(home, port, given.key if given and reads else ""))
        return account.snapshot is not None, outputs


def test_the_second_stack_begins_with_what_terraform_left(
    aws: LocalAws, program: Terraform, tmp_path: Path
) -> None:
    assert start(tmp_path / "one", aws.server.port) == (
        False,
        {"url": f"http://127.0.0.1:{aws.server.port}", "package": str(tmp_path / "one" / "dag-trigger.zip")},
    )
    assert start(tmp_path / "two", 40000) == (
        True,
        {"url": "http://127.0.0.1:40000", "package": str(tmp_path / "two" / "dag-trigger.zip")},
    )
    assert program.applies == 1
    assert not (tmp_path / "one" / "aws" / "account").exists()
    home = tmp_path / "two" / "terraform"
    assert not terraform.state(home).stat().st_mode & 0o077
    values = json.loads((home / "stack.tfvars.json").read_text())
    assert values["airflow_url"] == "http://127.0.0.1:40002"
    assert values["dag_trigger_package"] == str(tmp_path / "two" / "dag-trigger.zip")


def test_fresh_lets_terraform_make_it_and_leaves_a_new_one(
    aws: LocalAws, program: Terraform, tmp_path: Path, cache: Path
) -> None:
    start(tmp_path / "one", aws.server.port)
    (file,) = cache.glob("*.snapshot")
    before = file.stat().st_ino
    assert not start(tmp_path / "one", aws.server.port, fresh=True)[0]
    assert program.applies == 2
    assert file.stat().st_ino != before


def test_a_change_lets_terraform_make_it(
    aws: LocalAws, program: Terraform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(tmp_path / "one", aws.server.port)
    build = lambda_package.build
    monkeypatch.setattr(lambda_package, "build", lambda target: _longer(build(target)))
    assert not start(tmp_path / "one", aws.server.port)[0]
    assert program.applies == 2


def _longer(package: Path) -> Path:
    package.write_bytes(package.read_bytes() + b"\0")
    return package


def test_what_the_local_aws_cannot_read_is_made_anew(
    aws: LocalAws, program: Terraform, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start(tmp_path / "one", aws.server.port)
    assert not start(tmp_path / "one", aws.server.port, reads=False)[0]
    assert program.applies == 2
    assert "Terraform makes the account anew" in capsys.readouterr().err


def test_what_changed_during_an_apply_leaves_nothing(
    aws: LocalAws, program: Terraform, tmp_path: Path, cache: Path
) -> None:
    program.meanwhile = lambda: _longer(tmp_path / "one" / "dag-trigger.zip")
    start(tmp_path / "one", aws.server.port)
    assert not list(cache.glob("*.snapshot"))


@pytest.mark.usefixtures("program")
def test_an_account_that_cannot_be_written_is_no_failure_of_the_stack(
    aws: LocalAws, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.status = 409
    assert start(tmp_path / "one", aws.server.port)[1]
    assert not list(cache.glob("*.snapshot"))
    assert "No snapshot of the account was kept" in capsys.readouterr().err


def test_only_the_owner_reads_the_stacks_folder(aws: LocalAws, program: Terraform, tmp_path: Path) -> None:
    (tmp_path / "one").chmod(0o755)
    start(tmp_path / "one", aws.server.port)
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o700
    assert program.applies == 1
