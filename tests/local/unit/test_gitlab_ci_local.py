"""What gitlab-ci-local says, and what of it is believed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from mlops.base.errors import LocalStackError, PrerequisiteError
from mlops_local.base import paths
from mlops_local.pipelines import evaluator
from mlops_local.pipelines import gitlab_ci_local as engine
from mlops_local.pipelines.gitlab_ci_local import PlannedJob

SAYS = """\
#!/usr/bin/env python3
import sys
sys.stdout.write({text!r})
sys.exit({code})
"""


@pytest.fixture
def checkout(tmp_path: Path) -> engine.Checkout:
    """A clone whose variables are written."""
    (tmp_path / "source" / engine.STATE).mkdir(parents=True)
    return engine.check_out(tmp_path, {"CI_COMMIT_TITLE": "costs $5", "CI_COMMIT_TAG": ""}, ())


def _say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, code: int = 0) -> None:
    """Put a program that says `text` in the place of gitlab-ci-local."""
    script = tmp_path / "engine"
    script.write_text(SAYS.format(text=text, code=code))
    script.chmod(0o755)
    monkeypatch.setattr(evaluator, "program", lambda: (str(script),))


def _events(checkout: engine.Checkout, *names: str) -> list[tuple[str, int | None]]:
    jobs = [PlannedJob(name=name, stage="test", when="on_success") for name in names]
    run = engine.CiRun(checkout=checkout, jobs=jobs, overlay={})
    lines: list[str] = []
    return [(event.job, event.exit_code) for event in run.events(lines.append, 60)]


def test_starts_ends_and_exit_codes(
    checkout: engine.Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _say(
        monkeypatch,
        tmp_path,
        "parsing and downloads finished in 200 ms.\n"
        "lint starting shell (lint)\n"
        "lint test starting shell (test)\n"
        "lint > output\n"
        "lint test finished in 1.37 min  WARN 40 \n"
        "lint finished in 2 s\n"
        "evaluate starting shell (evaluate)\n"
        "evaluate finished in 3.1 s  FAIL 31 \n"
        "evaluate finished in 3.2 s  WARN 1  after_script\n",
        code=1,
    )

    assert _events(checkout, "lint", "lint test", "evaluate") == [
        ("lint", None),
        ("lint test", None),
        ("lint test", 40),
        ("lint", 0),
        ("evaluate", None),
        ("evaluate", 31),
    ]


def test_a_job_cannot_pretend(
    checkout: engine.Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _say(
        monkeypatch,
        tmp_path,
        "test starting shell (test)\n"
        "test > finished in 1 s\n"
        "test > deploy starting shell (deploy)\n"
        "test $ test finished in 1 s\n"
        "deploy finished in 1 s\n"
        "test finished_started\n"
        "test finished in 5 s  FAIL 2 \n",
    )

    assert _events(checkout, "test", "deploy") == [("test", None), ("test", 2)]


@pytest.mark.parametrize("code", [1, 134])
def test_a_crash_of_the_engine_is_no_failed_job(
    checkout: engine.Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    _say(monkeypatch, tmp_path, "TypeError: x is not a function\n", code=code)

    with pytest.raises(LocalStackError, match="gitlab-ci-local failed") as caught:
        _events(checkout, "lint")

    assert caught.value.cause == "TypeError: x is not a function"


def test_the_plan(checkout: engine.Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [
        {"name": "lint", "stage": "lint", "when": "never", "allow_failure": False},
        {"name": "evaluate", "stage": "e", "when": "on_success", "allow_failure": {"exit_codes": [40]}},
        {"name": "odd", "stage": "e", "when": "on_success", "allow_failure": {"exit_codes": 3}, "needs": []},
        {"name": "deploy", "stage": "d", "when": "manual", "allow_failure": True, "needs": [{"job": "odd"}]},
    ]
    ci_file = {
        "stages": ["lint", "e", "d"],
        "lint": {"script": ["pylint"]},
        "evaluate": {"script": ["mlops evaluate --model iris"]},
        "odd": {"script": ["echo mlops deploy", "mlops deployments"]},
        "deploy": {"script": ["mlops deploy --model iris"]},
    }
    listed = " WARN  something\n[1] of it\n" + json.dumps(documents, indent=2) + "\n"
    preview = f"something\n---\n{json.dumps(ci_file)}\n"

    def answer(_folder: Path, _environment: object, arguments: Sequence[str]) -> evaluator.Answer:
        text = preview if "--preview" in arguments else listed
        return evaluator.Answer(code=0, stdout=text, stderr="")

    monkeypatch.setattr(evaluator, "evaluate", answer)

    evaluate, odd, deploy = engine.plan(checkout)

    assert [evaluate.tolerates(code) for code in (40, 1)] == [True, False]
    assert [odd.tolerates(code) for code in (3, 40)] == [True, False]
    assert deploy.tolerates(1)
    assert [job.deploys for job in (evaluate, odd, deploy)] == [False, False, True]
    assert [job.order for job in (evaluate, odd, deploy)] == [1, 1, 2]
    assert (evaluate.needs, odd.needs, deploy.needs) == (None, (), ("odd",))


def test_names_of_jobs_in_paths(checkout: engine.Checkout) -> None:
    # As gitlab-ci-local's own safeDockerString makes them.
    assert engine.safe_name("lint") == "lint"
    assert engine.safe_name("spam:lint") == "spamOglint"
    assert engine.safe_name("a b/../c") == "aIAbLy4uLwc"
    assert checkout.artifacts("../../x").parent == checkout.folder / engine.STATE / "artifacts"


def test_variables_are_taken_literally(checkout: engine.Checkout) -> None:
    written = json.loads(checkout.variables_file.read_text())

    assert written["CI_COMMIT_TITLE"] == {"type": "variable", "values": {"*": "costs $$5"}}
    assert checkout.unset == ("CI_COMMIT_TAG",)


def test_a_checkout_without_set_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "checkout", lambda: tmp_path)
    checkout = engine.Checkout(folder=tmp_path, variables_file=tmp_path / "variables.json")

    with pytest.raises(PrerequisiteError, match="not installed") as caught:
        engine.plan(checkout)

    assert caught.value.next_step == "Run: make setup"


def test_a_machine_without_rsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "node_modules" / "gitlab-ci-local" / "dist" / "index.js"
    script.parent.mkdir(parents=True)
    script.touch()
    monkeypatch.setattr(paths, "checkout", lambda: tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    checkout = engine.Checkout(folder=tmp_path, variables_file=tmp_path / "variables.json")

    with pytest.raises(PrerequisiteError, match="rsync is missing") as caught:
        engine.plan(checkout)

    assert "apt-get install rsync" in caught.value.next_step
