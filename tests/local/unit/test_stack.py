from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from mlops.base.errors import LocalStackError, UsageError
from mlops_local import dispatch
from mlops_local.airflow import environment
from mlops_local.base import paths
from mlops_local.command.down import leftovers, stop_stack
from mlops_local.command.up import start_servers
from mlops_local.stack.stack import FILE, Stack, find, names, require


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """A stack.json whose supervisor is this test."""
    monkeypatch.setattr(paths, "stacks", lambda: tmp_path)
    (tmp_path / "one").mkdir()
    stack = Stack(
        name="one",
        home=str(tmp_path / "one"),
        engine="process",
        pid=os.getpid(),
        started=psutil.Process().create_time(),
        aws_port=1,
        gitlab_port=2,
        airflow_port=3,
        outputs={"bucket": "b"},
    )
    stack.save()
    return stack


def test_a_stack_reads_back_as_it_was_saved(stack: Stack) -> None:
    assert find("one") == stack
    assert require("one") == stack
    assert list(names()) == ["one"]


def test_only_its_owner_reads_what_opens_a_stack(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert (stack.folder / FILE).stat().st_mode & 0o777 == 0o600
    passwords = environment.make_password(tmp_path / "airflow")
    assert passwords.stat().st_mode & 0o777 == 0o600
    kept = passwords.read_text()
    assert environment.make_password(tmp_path / "airflow").read_text() == kept
    assert len(json.loads(kept)["admin"]) >= 24

    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    with pytest.raises(LocalStackError, match="did not start"):
        start_servers("two", home, "process", "no-such-environment")
    assert home.stat().st_mode & 0o777 == 0o700
    assert paths.runs("two").stat().st_mode & 0o777 == 0o700


def test_a_pid_that_belongs_to_another_process_by_now_is_not_running(stack: Stack) -> None:
    assert stack.running()
    assert not replace(stack, started=stack.started - 60).running()
    assert not replace(stack, pid=2**22 - 1).running()


@pytest.mark.parametrize("action", ["inbox", "env", "run"])
def test_what_needs_a_stack_says_how_to_start_it(
    action: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "stacks", lambda: tmp_path)
    arguments = Namespace(
        action=action, name="two", repository=".", merge_request=None, schedule=False, deploy=False
    )
    with pytest.raises(LocalStackError, match=r"mlops local --name two up"):
        dispatch.run(arguments)


def test_a_stack_that_is_not_up_is_an_answer_to_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "stacks", lambda: tmp_path)
    assert dispatch.run(Namespace(action="status", name="two")).data == {"name": "two", "up": False}
    assert dispatch.run(Namespace(action="down", name="two", all=False)).data == {"stopped": []}


@pytest.mark.parametrize("name", ["", "../x", "A", "a b", "x" * 40])
def test_a_name_cannot_leave_the_folder_of_stacks(name: str) -> None:
    with pytest.raises(UsageError):
        paths.home(name)


def test_logs_are_listed_and_shown(stack: Stack) -> None:
    (stack.folder / "logs").mkdir()
    (stack.folder / "logs" / "airflow.log").write_text("first\nlast\n")
    assert dispatch.run(Namespace(action="logs", name="one", log="")).data["logs"] == ["logs/airflow.log"]
    assert dispatch.run(Namespace(action="logs", name="one", log="airflow")).summary == "first\nlast"
    with pytest.raises(UsageError, match="no log 'nothing'"):
        dispatch.run(Namespace(action="logs", name="one", log="nothing"))


def test_what_a_killed_supervisor_left_behind_is_found_and_stopped(stack: Stack) -> None:
    orphan = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        env={**os.environ, "SAGEMAKER_BASE_DIR": f"{stack.home}/aws/job"},
        start_new_session=True,
    )
    # A neighbour whose home merely begins with the same letters
    neighbour = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        env={**os.environ, "SAGEMAKER_BASE_DIR": f"{stack.home}-two/aws/job"},
    )
    try:
        time.sleep(0.2)
        dead = replace(stack, pid=2**22 - 1)
        assert [process.pid for process in leftovers(dead)] == [orphan.pid]
        stop_stack(dead)
        assert not psutil.pid_exists(orphan.pid)
        assert neighbour.poll() is None
        assert not (stack.folder / FILE).exists()
    finally:
        for process in (orphan, neighbour):
            process.kill()
            process.wait()


def test_a_stack_that_plays_another_environment_is_not_taken_for_the_one_asked_for(stack: Stack) -> None:
    stack.save()
    asked = Namespace(action="up", name="one", engine="process", environment="dev", fresh=False)
    with pytest.raises(LocalStackError, match="plays the environment 'local'"):
        dispatch.run(asked)
