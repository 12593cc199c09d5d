"""One process that evaluates many CI files answers as a process of its own for each would."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from mlops.base.errors import LocalStackError
from mlops_local.pipelines import evaluator
from mlops_local.pipelines.evaluator import Answer, Evaluator
from mlops_local.pipelines.variables import PipelineTrigger

from .test_many_models import configuration

LISTED = ("--list-json", "--no-color", "--file=.gitlab-ci.yml")
MANY = [
    {"local": "/ci-templates/workflow.yml"},
    *(
        {
            "local": "/ci-templates/model-pipeline.yml",
            "inputs": {"model": f"m{number}", "job-prefix": f"m{number}:"},
        }
        for number in range(6)
    ),
]
UNKNOWN_KEY = {"lint": {"script": ["true"], "colour": "red"}}
CASES = [
    ({"include": MANY}, PipelineTrigger()),
    (UNKNOWN_KEY, PipelineTrigger()),
    (configuration(), PipelineTrigger(kind="merge_request", ref="topic", merge_request=42)),
    ({"include": MANY[:1], "own": {"script": ["true"]}}, PipelineTrigger(kind="tag", ref="v1")),
    ({"include": [{"local": "/nowhere.yml"}]}, PipelineTrigger()),
    ({"include": MANY[:3], "variables": {"REGION": "eu-west-1"}}, PipelineTrigger(kind="schedule")),
]


@pytest.fixture
def one() -> Iterator[Evaluator]:
    made = Evaluator()
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with one job."""
    (tmp_path / ".gitlab-ci.yml").write_text("lint: {script: ['true']}\n")
    for command in (
        ["init", "--quiet", "--initial-branch=main"],
        ["remote", "add", "origin", "http://127.0.0.1:1/models/x.git"],
        ["add", "--all"],
        ["-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "--quiet", "--message=feat: a"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}


def _said(answer: Answer) -> Answer:
    """An answer, without the time it took."""
    return replace(answer, stderr=re.sub(r" in [\d.]+ (ns|μs|ms|s|min)\b", "", answer.stderr))


def _fresh(folder: Path, environment: Mapping[str, str], arguments: Sequence[str]) -> Answer:
    """The answer of a process of its own; of what it writes to a pipe, its exit loses the end."""
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        done = subprocess.run(
            [*evaluator.program(), *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            check=False,
        )
        stdout.seek(0)
        stderr.seek(0)
        return Answer(code=done.returncode, stdout=stdout.read(), stderr=stderr.read())


def test_answers_are_those_of_a_fresh_process(
    planner: Any, one: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was asked before, and whether or not it failed."""
    asked: list[tuple[Path, Mapping[str, str], Sequence[str], Answer]] = []

    def ask(folder: Path, environment: Mapping[str, str], arguments: Sequence[str]) -> Answer:
        answer = one.ask(folder, environment, arguments)
        asked.append((folder, environment, arguments, answer))
        return answer

    monkeypatch.setattr(evaluator, "evaluate", ask)
    for document, trigger in CASES:
        try:
            planner(document, trigger, changed=["penguins/columns.py"])
        except LocalStackError as error:
            assert "CI file is not valid" in str(error)

    assert {answer.code for *_, answer in asked} == {0, 1}
    assert max(len(answer.stdout) for *_, answer in asked) > 64 * 1024  # what a pipe holds
    for folder, environment, arguments, answer in asked:
        assert _said(answer) == _said(_fresh(folder, environment, arguments))


def test_a_process_answers_until_a_question_fails(one: Evaluator, folder: Path) -> None:
    here = psutil.Process()
    before = set(here.children())

    def running() -> set[psutil.Process]:
        return set(here.children()) - before

    assert one.ask(folder, _environment(), LISTED).code == 0
    first = running()
    assert one.ask(folder, _environment(), LISTED).code == 0
    assert running() == first and len(first) == 1

    assert one.ask(folder, _environment(), ("--no-such-option",)).code == 1
    assert not running()
    assert one.ask(folder, _environment(), LISTED).code == 0
    assert running().isdisjoint(first)
    one.close()
    assert not running()


def test_an_environment_does_not_stay(one: Evaluator, folder: Path) -> None:
    (folder / ".gitlab-ci.yml").write_text(
        "lint: {script: ['true']}\ntest: {script: ['true'], stage: build}\n"
    )

    plain = one.ask(folder, _environment(), LISTED)
    other = one.ask(folder, {**_environment(), "GCL_LIST_JSON": "false", "GCL_PREVIEW": "true"}, LISTED[1:])
    again = one.ask(folder, _environment(), LISTED)

    assert other.stdout.startswith("---\n")
    assert plain.stdout == again.stdout != other.stdout


def test_a_process_that_was_ended_is_replaced(one: Evaluator, folder: Path) -> None:
    before = set(psutil.Process().children())
    one.ask(folder, _environment(), LISTED)
    (process,) = set(psutil.Process().children()) - before
    process.kill()
    process.wait(30)

    assert one.ask(folder, _environment(), LISTED).code == 0


def test_a_checkout_may_be_a_link(
    one: Evaluator, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, script = evaluator.program()
    link = tmp_path / "linked"
    link.symlink_to(Path(script).parent)
    monkeypatch.setattr(evaluator, "program", lambda: (node, str(link / "index.js")))

    assert one.ask(folder, _environment(), LISTED).code == 0


def test_the_time_for_an_answer_is_limited(folder: Path) -> None:
    with pytest.raises(LocalStackError, match="gitlab-ci-local failed") as caught:
        Evaluator(limit_seconds=0.001).ask(folder, _environment(), LISTED)

    assert caught.value.cause == "it did not evaluate the CI file within 0.001 s"


def test_another_release_of_gitlab_ci_local_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.mjs"
    other.write_text("console.log('5.0.0')\n")
    node, _ = evaluator.program()
    monkeypatch.setattr(evaluator, "program", lambda: (node, str(other)))

    with pytest.raises(LocalStackError, match="gitlab-ci-local failed") as caught:
        Evaluator().ask(folder, _environment(), LISTED)

    assert "ended with 1" in str(caught.value.cause)
    assert f"{other} is another release than evaluator.mjs knows" in capfd.readouterr().err


ASKS = """\
import pathlib, sys, time
from mlops_local.pipelines import evaluator
print(evaluator.evaluate(pathlib.Path(sys.argv[1]), {"PATH": sys.argv[2], "HOME": "/"}, sys.argv[3:]).code, flush=True)
time.sleep(600)
"""


def test_nothing_stays_behind_a_program_that_was_killed(folder: Path) -> None:
    command = [sys.executable, "-c", ASKS, str(folder), os.environ["PATH"], *LISTED]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout and program.stdout.readline() == "0\n"
        (node,) = psutil.Process(program.pid).children()
        program.send_signal(signal.SIGKILL)

    _, alive = psutil.wait_procs([node], timeout=60)
    assert not alive
