"""Pipelines that start pipelines in another project, run by the real gitlab-ci-local."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gitlab
import pytest

from mlops_local.gitlab.projects import create_project
from mlops_local.gitlab.users import PROJECT_TOKEN
from mlops_local.pipelines.pipeline import PipelineOptions, PipelineRun, run, run_manual
from mlops_local.pipelines.variables import PipelineTrigger
from mlops_local.stack.stack import Stack

UPSTREAM, DOWNSTREAM = "models/wine", "platform/runner"
SAY = "python3 -c \"import json, os; print('SEEN', json.dumps(dict(os.environ)))\""

UPSTREAM_CI = """\
stages: [build, go, after]
variables: {GLOBAL: everywhere}
announce: {stage: .post, script: [echo it failed], when: on_failure}
code:
  stage: build
  script:
    - echo "content of $CI_COMMIT_SHA" > code.bundle
    - echo "CODE_JOB_ID=$CI_JOB_ID" > code.env
    - test -z "$CODE_FAILS"
  artifacts: {expire_in: 3 days, paths: [code.bundle], reports: {dotenv: code.env}}
.trigger:
  stage: go
  needs: [code]
  variables: {JOB: $CODE_JOB_ID, RUNNING: $CI_JOB_ID, WHERE: $CI_PROJECT_PATH/$MODEL}
  trigger:
    project: platform/runner
    strategy: STRATEGY
    inputs: {model: $MODEL, number: 3}
go:
  extends: .trigger
  parallel: {matrix: [{MODEL: [wine, houses]}]}
behind:
  stage: after
  script: [echo all went well]
"""
DOWNSTREAM_CI = """\
spec:
  inputs:
    model: {default: none}
    number: {type: number, default: 1}
    kind: {options: [all, none], default: all}
---
stages: [fetch, deploy]
fetch:
  stage: fetch
  rules:
    - if: '"$[[ inputs.kind ]]" == "all"'
  variables:
    INPUT: $[[ inputs.model ]]
  script:
    - SAY
    - test "$MODEL" != "$FAILS"
deploy:
  stage: deploy
  needs: [fetch]
  script:
    - echo deployed $[[ inputs.number ]]
  rules:
    - if: '"$[[ inputs.kind ]]" == "all"'
      when: manual
      allow_failure: true
"""


@dataclass
class Lab:
    """A model's project and the one it starts pipelines in."""

    stack: Stack
    folder: Path
    git: Any
    lines: list[str] = field(default_factory=list)

    def push(self, project: str, ci: str) -> str:
        folder = self.folder / project.replace("/", "-")
        if not folder.exists():
            folder.mkdir()
            self.git(folder, "init", "--quiet", "--initial-branch=main")
        create_project(self.stack.folder / "gitlab", project)
        (folder / ".gitlab-ci.yml").write_text(ci)
        self.git(folder, "add", "--all")
        self.git(folder, "commit", "--quiet", "--allow-empty", "--message=feat: begin")
        self.git(folder, "push", "--quiet", "--force", f"{self.stack.gitlab_url}/{project}.git", "main")
        return str(self.git(folder, "rev-parse", "HEAD"))

    def run(self, upstream: str, downstream: str = DOWNSTREAM_CI, **variables: str) -> PipelineRun:
        self.push(DOWNSTREAM, downstream.replace("SAY", SAY))
        options = PipelineOptions(variables=variables, limit_seconds=120)
        commit = self.push(UPSTREAM, upstream)
        return run(
            self.stack, UPSTREAM, commit, PipelineTrigger(user="ada"), echo=self.lines.append, options=options
        )

    def remote(self, project: str) -> Any:
        return gitlab.Gitlab(self.stack.gitlab_url, private_token=PROJECT_TOKEN).projects.get(project)


@pytest.fixture
def lab(stack: Stack, tmp_path: Path, git: Any) -> Lab:
    return Lab(stack, tmp_path, git)


def states(done: PipelineRun) -> dict[str, str]:
    return {job.name: job.state for job in done.jobs}


def seen(done: PipelineRun) -> dict[str, str]:
    """The environment of the downstream job."""
    (line,) = [one for one in done.job("fetch").log.read_text().splitlines() if one.startswith("SEEN ")]
    variables: dict[str, str] = json.loads(line.removeprefix("SEEN "))
    return variables


def ci(strategy: str = "mirror") -> str:
    return UPSTREAM_CI.replace("STRATEGY", strategy)


def test_upstream_downstream_and_the_result_back(lab: Lab) -> None:
    done = lab.run(ci())

    assert states(done) == {
        "announce": "skipped",
        "code": "success",
        "go: [wine]": "success",
        "go: [houses]": "success",
        "behind": "success",
    }, "\n".join(lab.lines)
    assert done.succeeded
    wine, houses = done.downstream["go: [wine]"], done.downstream["go: [houses]"]
    assert states(wine) == states(houses) == {"fetch": "success", "deploy": "manual"}

    inside = seen(wine)
    (code,) = [job for job in lab.remote(UPSTREAM).pipelines.get(done.id).jobs.list() if job.name == "code"]
    # what the trigger job has, as it would see it; what only a running job has stays a name
    assert (inside["MODEL"], inside["JOB"]) == ("wine", str(code.id))
    assert (inside["WHERE"], inside["GLOBAL"]) == ("models/wine/wine", "everywhere")
    # an input stands for itself until a job of the downstream pipeline reads it
    assert inside["INPUT"] == "wine"
    assert seen(houses)["INPUT"] == "houses"
    # and the rest is the downstream's own
    assert (inside["CI_PIPELINE_SOURCE"], inside["CI_PROJECT_PATH"]) == ("pipeline", DOWNSTREAM)
    assert (inside["CI_COMMIT_BRANCH"], inside["GITLAB_USER_LOGIN"]) == ("main", "ada")
    assert (inside["CI_UPSTREAM_PROJECT_ID"], inside["CI_UPSTREAM_PIPELINE_ID"]) == (
        str(code.pipeline["project_id"]),
        str(done.id),
    )
    assert "CODE_JOB_ID" not in inside

    bridges = {bridge.name: bridge for bridge in lab.remote(UPSTREAM).pipelines.get(done.id).bridges.list()}
    assert inside["CI_UPSTREAM_JOB_ID"] == str(bridges["go: [wine]"].id)
    assert bridges["go: [wine]"].downstream_pipeline["web_url"] == wine.url
    assert bridges["go: [wine]"].status == "success"
    remote = lab.remote(DOWNSTREAM).pipelines.get(wine.id)
    assert (remote.source, remote.ref, remote.status) == ("pipeline", "main", "success")
    assert code.artifacts_expire_at[:10] > code.finished_at[:10]

    clicked = run_manual(lab.stack, done, "deploy", echo=lab.lines.append, options=PipelineOptions())

    assert states(clicked.downstream["go: [wine]"])["deploy"] == "success"
    assert states(clicked.downstream["go: [houses]"])["deploy"] == "manual"
    assert "deployed 3" in clicked.downstream["go: [wine]"].job("deploy").log.read_text()
    assert states(clicked) == states(done)


@pytest.mark.parametrize(
    ("strategy", "waits", "then"), [("mirror", "manual", "success"), ("depend", "running", "success")]
)
def test_a_job_downstream_that_somebody_must_click(lab: Lab, strategy: str, waits: str, then: str) -> None:
    blocking = DOWNSTREAM_CI.replace("allow_failure: true", "allow_failure: false")
    one = ci(strategy).replace("[wine, houses]", "[wine]")
    done = lab.run(one, blocking)

    assert (states(done)["go: [wine]"], states(done)["behind"]) == (waits, "skipped")
    assert lab.remote(DOWNSTREAM).pipelines.get(done.downstream["go: [wine]"].id).status == "manual"
    assert lab.remote(UPSTREAM).pipelines.get(done.id).bridges.list()[0].status == waits

    clicked = run_manual(lab.stack, done, "deploy", echo=lab.lines.append, options=PipelineOptions())

    assert (states(clicked)["go: [wine]"], states(clicked)["behind"]) == (then, "success")


def test_a_failure_downstream_comes_back(lab: Lab) -> None:
    done = lab.run(ci(), FAILS="wine")

    assert states(done) == {
        "announce": "success",
        "code": "success",
        "go: [wine]": "failed",
        "go: [houses]": "success",
        "behind": "skipped",
    }
    assert not done.succeeded
    assert states(done.downstream["go: [wine]"]) == {"fetch": "failed", "deploy": "skipped"}


def test_nothing_is_started_for_code_that_failed(lab: Lab) -> None:
    done = lab.run(ci(), CODE_FAILS="yes")

    assert states(done) == {
        "announce": "success",
        "code": "failed",
        "go: [wine]": "skipped",
        "go: [houses]": "skipped",
        "behind": "skipped",
    }
    assert done.downstream == {}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no project": ({"project": "platform/nowhere"}, "Downstream project could not be found"),
    "its own project": ({"project": UPSTREAM}, "in its own project"),
    "no branch": ({"branch": "nowhere"}, "refs/heads/nowhere"),
    "no number": ({"inputs": {"number": "3"}}, "`number` input: provided value is not a number"),
    "no option": ({"inputs": {"kind": "d"}}, "`d` cannot be used because it is not in the list of allowed"),
    "no input": ({"inputs": {"other": 1}}, "Given inputs not defined in the `spec` section"),
    "no match": ({"inputs": {"model": "$MODEL"}}, "provided value does not match required RegEx pattern"),
    "no jobs": ({"inputs": {"kind": "none"}}, "prevented any jobs"),
}


def test_a_pipeline_that_gitlab_would_not_create(lab: Lab) -> None:
    jobs = {
        name: {"trigger": {"project": DOWNSTREAM, "strategy": "mirror", **change}, "stage": "build"}
        for name, (change, _) in REFUSED.items()
    }
    strict = DOWNSTREAM_CI.replace("{default: none}", "{default: none, regex: '^[a-z]+$'}")

    done = lab.run(json.dumps({"stages": ["build"], **jobs}), strict)

    assert states(done) == dict.fromkeys(REFUSED, "failed")
    for name, (_, reason) in REFUSED.items():
        assert reason in done.job(name).log.read_text()
    assert done.downstream == {}


def test_a_trigger_job_that_somebody_clicks(lab: Lab) -> None:
    text = (
        ci()
        .replace("[wine, houses]", "[wine]")
        .replace("  needs: [code]\n", "  needs: [code]\n  when: manual\n")
    )
    done = lab.run(text)
    assert (states(done)["go: [wine]"], done.downstream) == ("manual", {})

    clicked = run_manual(lab.stack, done, "go: [wine]", echo=lab.lines.append, options=PipelineOptions())

    assert states(clicked)["go: [wine]"] == "success"
    assert states(clicked.downstream["go: [wine]"])["fetch"] == "success"
