"""Finding, fetching and running Terraform; a shell script stands in for the program."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import pytest

from mlops.base.errors import PrerequisiteError, TerraformError
from mlops.clients.terraform import install
from mlops.clients.terraform.install import PINNED, find_terraform
from mlops.clients.terraform.program import Terraform


def program(folder: Path, body: str) -> Path:
    """An executable `terraform` that runs `body`."""
    folder.mkdir(exist_ok=True)
    file = folder / "terraform"
    file.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    file.chmod(0o755)
    return file


def answers(version: str) -> str:
    return f"""echo '{{"terraform_version": "{version}"}}'"""


def unreachable(url: str) -> bytes:
    raise OSError(f"no route to {url}")


def release(*, member: str = "terraform") -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr(member, "#!/bin/sh\n")
    return archive.getvalue()


@pytest.fixture
def no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


@pytest.fixture
def on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


def test_the_program_on_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = program(tmp_path / "path", answers("1.14.0"))
    monkeypatch.setenv("PATH", str(mine.parent))
    assert find_terraform(tmp_path / "bin", unreachable) == mine


@pytest.mark.parametrize("body", [answers("1.5.7"), "echo no json", "exit 1"])
def test_an_old_or_broken_one_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.setenv("PATH", str(program(tmp_path / "path", body).parent))
    fetched = program(tmp_path / "bin", answers(PINNED))
    assert find_terraform(tmp_path / "bin", unreachable) == fetched


@pytest.mark.usefixtures("no_path", "on_linux")
def test_the_pinned_release_is_fetched_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(url: str) -> bytes:
        asked.append(url)
        return release()

    monkeypatch.setitem(install.CHECKSUMS, "linux_amd64", hashlib.sha256(release()).hexdigest())
    found = find_terraform(tmp_path / "bin", fetch)
    assert asked == [f"https://releases.hashicorp.com/terraform/{PINNED}/terraform_{PINNED}_linux_amd64.zip"]
    assert found == tmp_path / "bin" / "terraform"
    assert os.access(found, os.X_OK)
    assert [file.name for file in found.parent.iterdir()] == ["terraform"]


@pytest.mark.usefixtures("no_path", "on_linux")
def test_a_release_that_was_tampered_with_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError) as error:
        find_terraform(tmp_path / "bin", lambda _: release())
    assert hashlib.sha256(release()).hexdigest() in error.value.cause
    assert not (tmp_path / "bin").exists()


@pytest.mark.usefixtures("no_path", "on_linux")
def test_without_network_one_line_says_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError) as error:
        find_terraform(tmp_path / "bin", unreachable)
    assert "no route to" in error.value.cause
    assert error.value.next_step.startswith("Run: curl ")
    assert "\n" not in error.value.next_step


@pytest.mark.usefixtures("no_path")
def test_a_platform_without_a_pinned_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Plan9")
    with pytest.raises(PrerequisiteError, match=r"1\.11 or newer is missing"):
        find_terraform(tmp_path / "bin", unreachable)


def test_every_platform_is_pinned_by_a_sha256() -> None:
    assert all(len(bytes.fromhex(checksum)) == 32 for checksum in install.CHECKSUMS.values())


def runner(tmp_path: Path, body: str, timeout: float = 30) -> Terraform:
    values = tmp_path / "values.tfvars"
    return Terraform(
        program=program(tmp_path / "bin", body),
        folder=tmp_path,
        environment={"PATH": os.environ["PATH"], "ONLY": "this"},
        var_files=[values],
        log=tmp_path / "terraform.log",
        timeout=timeout,
    )


def said(tmp_path: Path) -> list[str]:
    return (tmp_path / "words").read_text(encoding="utf-8").split()


RECORD = 'echo "$@" > words'


def test_apply_does_not_wait_for_an_approval(tmp_path: Path) -> None:
    runner(tmp_path, RECORD).apply_now(refresh=False)
    words = said(tmp_path)
    assert words[0] == "apply"
    assert {"-auto-approve=true", "-input=false", "-no-color", "-refresh=false"} <= set(words)
    assert f"-var-file={tmp_path / 'values.tfvars'}" in words


def test_destroy_passes_no_flag_that_is_gone(tmp_path: Path) -> None:
    runner(tmp_path, RECORD).destroy_now()
    words = said(tmp_path)
    assert "-auto-approve" in words
    assert not [word for word in words if "force" in word]


def test_initialise_passes_no_values(tmp_path: Path) -> None:
    runner(tmp_path, RECORD).initialise()
    assert not [word for word in said(tmp_path) if word.startswith("-var")]


@pytest.mark.parametrize(("code", "changes"), [(0, False), (2, True)])
def test_plan_tells_whether_there_are_changes(tmp_path: Path, code: int, *, changes: bool) -> None:
    assert runner(tmp_path, f"exit {code}").has_changes() is changes


def test_outputs_may_be_of_any_type(tmp_path: Path) -> None:
    body = """echo '{"names": {"value": ["a"], "type": ["list", "string"], "sensitive": false}}'"""
    assert runner(tmp_path, body).outputs() == {"names": ["a"]}


def test_only_the_given_environment_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    runner(tmp_path, "env > words").initialise()
    words = (tmp_path / "words").read_text(encoding="utf-8")
    assert "ONLY=this" in words
    assert "production" not in words


def test_a_failure_shows_terraforms_own_words(tmp_path: Path) -> None:
    body = "echo creating; printf '\\nError: no such bucket\\n\\n  on main.tf line 3\\n' >&2; exit 1"
    with pytest.raises(TerraformError) as error:
        runner(tmp_path, body).apply_now()
    assert error.value.what == "terraform apply failed"
    assert error.value.cause == "Error: no such bucket\n  on main.tf line 3"
    assert "creating" in Path(error.value.link).read_text(encoding="utf-8")


def test_a_command_that_hangs_is_interrupted(tmp_path: Path) -> None:
    # As Terraform, it listens for interrupts itself: what a shell starts in the background begins deaf to them.
    listening = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_DFL); time.sleep(60)"
    started = time.monotonic()
    with pytest.raises(TerraformError, match="stopped after 1 seconds"):
        runner(tmp_path, f"exec '{sys.executable}' -c '{listening}'", timeout=1).apply_now()
    assert time.monotonic() - started < 30


def test_files_of_values_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drafts = tmp_path / "drafts"
    drafts.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(drafts))
    with pytest.raises(TerraformError):
        runner(tmp_path, "exit 1").apply_now(var={"name": "value"})
    assert not list(drafts.iterdir())
