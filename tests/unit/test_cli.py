from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from mlops import cli
from mlops.base.errors import EXIT_BROKEN_PIPE, EXIT_INTERRUPTED, EXIT_UNEXPECTED, ManifestError
from mlops.base.result import Outcome


def command_that(monkeypatch: pytest.MonkeyPatch, action: object) -> None:
    """Make `mlops validate` do `action`."""
    module = types.ModuleType("mlops.manifest.validate")
    module.run = action  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlops.manifest.validate", module)


def raising(error: BaseException) -> object:
    def run(_: object) -> Outcome:
        raise error

    return run


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: command.name)
def test_every_command_has_help_with_an_example_and_json(
    command: cli.Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main([command.name, "--help"])
    text = capsys.readouterr().out
    assert exit_.value.code == 0
    assert command.example.startswith(f"mlops {command.name}")
    assert command.example in text
    assert "--json" in text
    assert "exit-codes.md" in text


def test_the_result_is_for_people_or_for_machines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command_that(
        monkeypatch, lambda _: Outcome(summary="done", data={"a": 1}, next_steps=("rest",), exit_code=40)
    )
    assert cli.main(["validate"]) == 40
    assert capsys.readouterr().out == "done\n  next: rest\n"
    assert cli.main(["validate", "--json"]) == 40
    assert json.loads(capsys.readouterr().out) == {"a": 1}


def test_an_error_of_ours_shows_cause_and_next_step_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command_that(
        monkeypatch, raising(ManifestError("mlops.yml is wrong", cause="line 3", next_step="Fix it."))
    )
    assert cli.main(["validate"]) == ManifestError.exit_code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "✗ mlops.yml is wrong\n  why: line 3\n  next: Fix it.\n"


def test_an_unexpected_error_leaves_a_log_with_versions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("SOME_SECRET", "hunter2")
    command_that(monkeypatch, raising(ZeroDivisionError("oops")))
    assert cli.main(["validate"]) == EXIT_UNEXPECTED
    (log,) = tmp_path.iterdir()
    assert str(log) in capsys.readouterr().err
    text = log.read_text()
    assert "ZeroDivisionError: oops" in text
    assert "boto3 " in text
    assert "hunter2" not in text


def test_interruption_has_a_code_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    command_that(monkeypatch, raising(KeyboardInterrupt()))
    assert cli.main(["validate"]) == EXIT_INTERRUPTED


def test_a_reader_that_has_had_enough_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    mlops = [sys.executable, "-m", "mlops.cli", "validate", "--schema"]
    done = subprocess.run(mlops, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (EXIT_BROKEN_PIPE, "")


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from mlops.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(done.stderr.split())
    assert not loaded & {
        "boto3",
        "botocore",
        "pydantic",
        "yaml",
        "docker",
        "gitlab",
        "semver",
        "json",
        "tempfile",
    }


def test_the_local_stack_is_offered_where_it_is() -> None:
    code = "import sys; sys.modules['mlops_local'] = None\nfrom mlops.cli import COMMANDS\nprint(*(one.name for one in COMMANDS))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "terraform" in done.stdout.split()
    assert "local" not in done.stdout.split()
    assert "local" in {command.name for command in cli.COMMANDS}
