"""A push of a model repository, its pipeline in the platform's project, and what comes back."""

from __future__ import annotations

from mlops_local.pipelines.pipeline import PipelineRun
from mlops_local.pipelines.variables import PipelineTrigger

from .conftest import CI, Lab

CODE = {
    "train.py": '"""Trains."""\n\nANSWER = 42\n',
    "tests/test_train.py": '"""Tests."""\n\nimport train\n\n\n'
    'def test_answer():\n    """It is."""\n    assert train.ANSWER == 42\n',
    "pytest.ini": "[pytest]\npythonpath = .\n",
    "requirements-dev.txt": "pylint\npytest\n",
}


def states(done: PipelineRun) -> dict[str, str]:
    return {job.name: job.state for job in done.jobs}


def logs(done: PipelineRun) -> str:
    """Everything that the jobs of both pipelines said, for the person who reads a failure."""
    jobs = [job for one in (done, *done.downstream.values()) for job in one.jobs]
    return "\n".join(f"-- {job.name}\n{job.log.read_text()}" for job in jobs if job.log.is_file())


def log(done: PipelineRun, name: str) -> str:
    return done.job(name).log.read_text()


def test_a_branch_is_checked_there_and_its_commit_says_so(lab: Lab) -> None:
    lab.git(lab.folder, "checkout", "--quiet", "-b", "topic")
    commit = lab.commit(CODE, "feat: train")

    done = lab.run(commit, PipelineTrigger(ref="topic"))

    downstream = done.downstream.get("phishing-url")
    told = logs(done)
    assert downstream is not None, told
    assert states(downstream) == {
        "phishing-url:fetch": "success",
        "phishing-url:lint": "success",
        "phishing-url:test": "success",
        "phishing-url:answer": "success",
        "phishing-url:answer-failure": "skipped",
    }, told
    assert states(done) == {"code": "success", "phishing-url": "success"}
    assert "✓ models/phishing-url topic" in log(downstream, "phishing-url:fetch")
    (status,) = [
        one for one in lab.remote().commits.get(commit).statuses.list() if one.name.startswith("ml-ops/")
    ]
    assert (status.name, status.status) == ("ml-ops/phishing-url", "success")
    assert "/platform/ml-ops/-/pipelines/" in status.target_url


def test_a_branch_that_poses_as_the_default_branch_is_refused(lab: Lab) -> None:
    """Its own trigger job says that it is main: jobs that release are made, and none of them runs."""
    lab.git(lab.folder, "checkout", "--quiet", "-b", "topic")
    posing = CI.replace("{model: phishing-url}", "{model: phishing-url, upstream-ref: main}")
    commit = lab.commit({".gitlab-ci.yml": posing}, "feat: unreviewed")

    done = lab.run(commit, PipelineTrigger(ref="topic"))

    downstream = done.downstream["phishing-url"]
    told = log(downstream, "phishing-url:fetch")
    assert "change: the trigger says default_branch, GitLab says branch" in told
    ran = {name for name, state in states(downstream).items() if state not in ("skipped", "manual")}
    assert ran == {"phishing-url:fetch", "phishing-url:answer-failure", "phishing-url:notify"}
    assert states(done)["phishing-url"] == "failed"
    # The words of a trigger that lies name nobody who would be told.
    assert [
        one for one in lab.remote().commits.get(commit).statuses.list() if one.name.startswith("ml-ops")
    ] == []
