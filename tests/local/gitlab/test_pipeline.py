"""A pipeline of a small model repo, run by the real gitlab-ci-local; `mlops` is a shell script here."""

from __future__ import annotations

import base64
import json
import stat
import time
import zipfile
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import gitlab
import psutil
import pytest

from mlops.base.errors import LocalStackError, UsageError
from mlops_local.gitlab.projects import create_project
from mlops_local.gitlab.users import PROJECT_TOKEN
from mlops_local.pipelines.pipeline import PipelineOptions, PipelineRun, run, run_manual
from mlops_local.pipelines.sources import publish_templates
from mlops_local.pipelines.variables import PipelineTrigger
from mlops_local.stack.stack import TEMPLATES_PROJECT, Stack

PROJECT = "models/phishing-url"
TITLE = 'feat: costs $5, `now` "quoted"'

# Says what it was given, and leaves what the real one leaves.
MLOPS = r"""#!/bin/bash
echo "mlops $*"
python3 -c "import json, os; print(json.dumps(dict(os.environ)))" > "$SEEN/$CI_JOB_NAME.json"
[ -f stray.txt ] && exit 99
if [ -n "$MLOPS_ID_TOKEN" ]; then printf '%s' "$MLOPS_ID_TOKEN" > "$SEEN/$CI_JOB_NAME.token"; fi
[ "$1" = "$HANG" ] && sleep 60
case "$1" in
  containerize) echo "IMAGE_VERSION=1.0.0" > containerize.env ;;
  train) echo "MODEL_VERSION=$IMAGE_VERSION+retrain.0" > train.env; touch stray.txt ;;
  evaluate)
    mkdir evaluation; echo "# Evaluation of $MODEL_VERSION" > evaluation/evaluation.md
    echo "GATE=${GATE:-passed}" > evaluate.env
    exit "${EVALUATE_EXIT:-0}" ;;
  deploy)
    cat evaluation/evaluation.md; echo "override: ${MLOPS_OVERRIDE-none}"
    echo "DEPLOYED_MODEL_VERSION=$MODEL_VERSION" > deploy.env ;;
esac
"""


@dataclass(frozen=True)
class Lab:
    """A stack, a pushed model repo, and jobs whose programs are scripts."""

    stack: Stack
    repository: Path
    folder: Path
    git: Any
    lines: list[str]

    def options(self, **variables: str) -> PipelineOptions:
        seen = {"SEEN": str(self.folder / "seen"), "MLOPS_VENVS": str(self.folder / "venvs")}
        return PipelineOptions(
            variables={**seen, **variables}, tools=(self.folder / "tools",), limit_seconds=120
        )

    def seen(self, job: str) -> dict[str, str]:
        """The environment a job had."""
        document: dict[str, str] = json.loads((self.folder / "seen" / f"{job}.json").read_text())
        return document

    def push(self, title: str = TITLE, branch: str = "main") -> str:
        self.git(self.repository, "add", "--all")
        self.git(self.repository, "commit", "--quiet", "--allow-empty", f"--message={title}")
        url = f"{self.stack.gitlab_url}/{PROJECT}.git"
        self.git(self.repository, "push", "--quiet", "--force", url, f"HEAD:refs/heads/{branch}")
        return str(self.git(self.repository, "rev-parse", "HEAD"))

    def run(self, trigger: PipelineTrigger | None = None, **variables: str) -> PipelineRun:
        options = self.options(**variables)
        return run(self.stack, PROJECT, self.push(), trigger, echo=self.lines.append, options=options)


def _program(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o755)


@pytest.fixture
def lab(stack: Stack, repository: Path, git: Any, tmp_path: Path) -> Lab:
    publish_templates(stack, TEMPLATES_PROJECT)
    create_project(stack.folder / "gitlab", PROJECT)
    (repository / ".gitlab-ci.yml").write_text(
        "include:\n  - project: platform/ml-ops\n    ref: '1'\n"
        "    file: ci-templates/model-pipeline.yml\n    inputs: {model: phishing-url}\n"
    )
    (repository / "requirements.txt").write_text("")
    (tmp_path / "seen").mkdir()
    tools = tmp_path / "tools"
    tools.mkdir()
    _program(tools / "mlops", MLOPS)
    # An environment with the two tools, made without an index of packages.
    _program(
        tools / "uv",
        "#!/bin/bash\n"
        'if [ "$1" = venv ]; then mkdir -p "${!#}/bin"; cp -r "$VENV_BIN/." "${!#}/bin/"; fi\n'
        'echo "$*" >> "$SEEN/uv.log"\n',
    )
    fake = tmp_path / "venv-bin"
    fake.mkdir()
    _program(fake / "pylint", '#!/bin/bash\necho "pylint $*"; exit "${PYLINT_EXIT:-0}"\n')
    _program(fake / "pytest", '#!/bin/bash\necho "pytest $*"; echo "<testsuites/>" > junit.xml\n')
    _program(fake / "python", "#!/bin/bash\nexit 1\n")
    (fake / "activate").write_text('PATH="${BASH_SOURCE[0]%/*}:$PATH"\n')
    return Lab(stack=stack, repository=repository, folder=tmp_path, git=git, lines=[])


def _alive(pid: int) -> bool:
    """Whether it runs; nobody may have asked yet how it ended."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def _states(done: PipelineRun) -> dict[str, str]:
    return {job.name: job.state for job in done.jobs}


def test_a_push_to_the_default_branch(lab: Lab) -> None:
    done = lab.run(VENV_BIN=str(lab.folder / "venv-bin"))

    assert _states(done) == {
        "lint": "success",
        "test": "success",
        "containerize": "success",
        "train": "success",
        "evaluate": "success",
        "deploy": "manual",
        "notify": "skipped",
    }, "\n".join(lab.lines)
    assert done.succeeded
    assert done.variables == {"IMAGE_VERSION": "1.0.0", "MODEL_VERSION": "1.0.0+retrain.0", "GATE": "passed"}
    assert all(job.seconds > 0 and job.exit_code == 0 for job in done.jobs if job.state == "success")
    assert (done.job("evaluate").artifacts / "evaluation" / "evaluation.md").read_text() == (
        "# Evaluation of 1.0.0+retrain.0\n"
    )
    assert (done.job("test").artifacts / "junit.xml").exists()
    assert "--recursive=y ." in done.job("lint").log.read_text()
    assert any("mlops containerize --manifest mlops.yml --model phishing-url" in line for line in lab.lines)

    seen = lab.seen("train")
    number = lab.seen("evaluate")["CI_JOB_ID"]
    assert seen["CI_COMMIT_TITLE"] == TITLE
    assert seen["CI_COMMIT_SHA"] == done.commit
    assert seen["CI_COMMIT_BRANCH"] == seen["CI_DEFAULT_BRANCH"] == "main"
    assert seen["CI_PIPELINE_SOURCE"] == "push"
    assert seen["CI_PIPELINE_URL"] == done.url
    assert seen["CI_PROJECT_DIR"] == str(done.folder / "source/.gitlab-ci-local/builds/train")
    assert seen["AWS_ENDPOINT_URL"] == lab.stack.aws_endpoint
    assert seen["GITLAB_CI"] == "true"
    assert "CI_COMMIT_TAG" not in seen
    assert "CI_MERGE_REQUEST_IID" not in seen
    assert seen["CI_JOB_URL"] != lab.seen("evaluate")["CI_JOB_URL"]

    remote = gitlab.Gitlab(lab.stack.gitlab_url, private_token=PROJECT_TOKEN).projects.get(PROJECT)
    jobs = {job.name: job for job in remote.pipelines.get(done.id).jobs.list()}
    assert str(jobs["evaluate"].id) == number
    assert {name: job.status for name, job in jobs.items()} == {**_states(done)}


def test_a_manual_job_gets_the_artifacts_and_what_a_person_typed(lab: Lab) -> None:
    venv = str(lab.folder / "venv-bin")
    done = lab.run(VENV_BIN=venv)
    reason = "hotfix, $agreed with Ann's team"

    deployed = run_manual(
        lab.stack,
        done,
        "deploy",
        {"MLOPS_OVERRIDE": reason},
        echo=lab.lines.append,
        options=lab.options(VENV_BIN=venv),
    )

    assert deployed.job("deploy").state == "success"
    assert deployed.variables["DEPLOYED_MODEL_VERSION"] == "1.0.0+retrain.0"
    assert [job for job in deployed.jobs if job.name != "deploy"] == [
        job for job in done.jobs if job.name != "deploy"
    ]
    log = deployed.job("deploy").log.read_text()
    assert "# Evaluation of 1.0.0+retrain.0" in log
    assert f"override: {reason}" in log

    again = run_manual(
        lab.stack, deployed, "deploy", echo=lab.lines.append, options=lab.options(VENV_BIN=venv)
    )
    assert "override: none" in again.job("deploy").log.read_text()
    with pytest.raises(UsageError, match="no job 'release'"):
        run_manual(lab.stack, done, "release")


def test_a_failed_gate_is_a_warning(lab: Lab) -> None:
    done = lab.run(VENV_BIN=str(lab.folder / "venv-bin"), EVALUATE_EXIT="40", GATE="failed")

    assert (done.job("evaluate").state, done.job("evaluate").exit_code) == ("warning", 40)
    assert done.succeeded
    assert done.variables["GATE"] == "failed"
    assert (done.job("evaluate").artifacts / "evaluation" / "evaluation.md").exists()
    assert (_states(done)["deploy"], _states(done)["notify"]) == ("manual", "skipped")


def test_any_other_failure_of_evaluate_is_one_and_is_announced(lab: Lab) -> None:
    done = lab.run(VENV_BIN=str(lab.folder / "venv-bin"), EVALUATE_EXIT="31")

    assert (done.job("evaluate").state, done.job("evaluate").exit_code) == ("failed", 31)
    assert not done.succeeded
    assert (_states(done)["deploy"], _states(done)["notify"]) == ("skipped", "success")
    assert lab.seen("notify")["MODEL_VERSION"] == "1.0.0+retrain.0"
    with pytest.raises(UsageError, match="cannot be started"):
        run_manual(lab.stack, done, "deploy")


def test_a_failed_check_stops_the_rest_and_is_announced(lab: Lab) -> None:
    done = lab.run(VENV_BIN=str(lab.folder / "venv-bin"), PYLINT_EXIT="4")

    assert done.job("lint").exit_code == 4
    assert _states(done) == {
        "lint": "failed",
        "test": "success",
        "containerize": "skipped",
        "train": "skipped",
        "evaluate": "skipped",
        "deploy": "skipped",
        "notify": "success",
    }


def test_a_merge_request(lab: Lab) -> None:
    trigger = PipelineTrigger(kind="merge_request", ref="topic", merge_request=42, user="ada")
    done = lab.run(trigger, VENV_BIN=str(lab.folder / "venv-bin"))

    assert _states(done) == {"lint": "success", "test": "success", "containerize": "success"}
    seen = lab.seen("containerize")
    assert (seen["CI_MERGE_REQUEST_IID"], seen["CI_COMMIT_REF_NAME"]) == ("42", "topic")
    assert (seen["CI_PIPELINE_SOURCE"], seen["GITLAB_USER_LOGIN"]) == ("merge_request_event", "ada")
    assert "CI_COMMIT_BRANCH" not in seen


def test_a_tag_runs_nothing(lab: Lab) -> None:
    done = lab.run(PipelineTrigger(kind="tag", ref="v1.0.0"))

    assert done.jobs == ()
    assert done.succeeded
    assert "prevented any jobs from being added to the pipeline" in done.reason
    remote = gitlab.Gitlab(lab.stack.gitlab_url, private_token=PROJECT_TOKEN).projects.get(PROJECT)
    assert remote.pipelines.list() == []


def test_a_workflow_that_lets_no_pipeline_be(lab: Lab) -> None:
    (lab.repository / ".gitlab-ci.yml").write_text(
        "workflow: {rules: [{if: $CI_COMMIT_TAG, when: never}, {if: '$CI_PIPELINE_SOURCE == \"web\"'}]}\n"
        "own: {script: [echo ran]}\n"
    )

    done = lab.run()

    assert (done.jobs, done.reason) == ((), "Pipeline filtered out by workflow rules.")
    assert not any("ran" in line for line in lab.lines)
    remote = gitlab.Gitlab(lab.stack.gitlab_url, private_token=PROJECT_TOKEN).projects.get(PROJECT)
    assert remote.pipelines.list() == []


def test_a_schedule_retrains_and_builds_nothing(lab: Lab) -> None:
    done = lab.run(PipelineTrigger(kind="schedule"))

    # what else is there tells of a failure
    assert {job.name for job in done.jobs if job.state != "skipped"} <= {"retrain", "notify"}
    assert {job.name for job in done.jobs} == {"retrain", "notify"}


def test_pipelines_count_up(lab: Lab) -> None:
    first, second = lab.run(PipelineTrigger(kind="schedule")), lab.run(PipelineTrigger(kind="schedule"))

    assert (second.id, second.iid) == (first.id + 1, first.iid + 1) == (2, 2)
    assert first.folder != second.folder


def test_an_environment_is_made_once_for_the_same_requirements(lab: Lab) -> None:
    venv = str(lab.folder / "venv-bin")
    trigger = PipelineTrigger(ref="topic")
    for _ in range(2):
        assert lab.run(trigger, VENV_BIN=venv).succeeded
    same = (lab.folder / "seen" / "uv.log").read_text().count("venv --quiet")

    (lab.repository / "requirements.txt").write_text("semver\n")
    assert lab.run(trigger, VENV_BIN=venv).succeeded

    assert (same, (lab.folder / "seen" / "uv.log").read_text().count("venv --quiet")) == (1, 2)


def test_requirements_that_are_missing_are_told(lab: Lab) -> None:
    (lab.repository / "requirements.txt").unlink()

    done = lab.run(PipelineTrigger(ref="topic"))

    assert _states(done) == {"lint": "failed", "test": "failed"}
    assert "There is no requirements-dev.txt and no requirements.txt" in done.job("lint").log.read_text()


def test_nothing_of_the_callers_own_environment_reaches_a_job(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "CI_JOB_JWT", "GITLAB_TOKEN", "PYTHONPATH", "GCL_QUIET"):
        monkeypatch.setenv(name, "leaked")
    monkeypatch.setenv("UV_INDEX_URL", "kept")

    lab.run(VENV_BIN=str(lab.folder / "venv-bin"))

    seen = lab.seen("containerize")
    assert "leaked" not in seen.values()
    assert seen["UV_INDEX_URL"] == "kept"


def test_what_a_job_installs_is_its_own(lab: Lab) -> None:
    wheels = lab.folder / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "attrs-22.2.0-py3-none-any.whl", "w") as wheel:
        folder = "attrs-22.2.0.dist-info"
        wheel.writestr(f"{folder}/METADATA", "Metadata-Version: 2.1\nName: attrs\nVersion: 22.2.0\n")
        wheel.writestr(f"{folder}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{folder}/RECORD", "")
    (lab.repository / "requirements.txt").write_text("attrs==22.2.0\n")
    (lab.repository / ".gitlab-ci.yml").write_text(
        "unit:\n  image: python:3.12\n"
        f"  before_script: [pip install --no-index --find-links {wheels} -r requirements.txt]\n"
        "  script: [pip list]\n"
        "next:\n  needs: [unit]\n  script: [pip list]\n"
    )
    before = metadata.version("attrs")

    done = run(
        lab.stack, PROJECT, lab.push(), echo=lab.lines.append, options=PipelineOptions(limit_seconds=120)
    )

    assert _states(done) == {"unit": "success", "next": "success"}, "\n".join(lab.lines)
    assert metadata.version("attrs") == before != "22.2.0"
    assert "22.2.0" in done.job("unit").log.read_text()
    # Each job starts from its image.
    assert "attrs" not in done.job("next").log.read_text()


def test_jobs_talk_to_the_machines_own_docker(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/user/1000/docker.sock")
    monkeypatch.delenv("DOCKER_TLS_VERIFY", raising=False)

    lab.run(VENV_BIN=str(lab.folder / "venv-bin"))

    seen = lab.seen("containerize")
    assert seen["DOCKER_HOST"] == "unix:///run/user/1000/docker.sock"
    assert "DOCKER_TLS_VERIFY" not in seen


def test_variables_lie_where_only_this_user_reads_them(lab: Lab) -> None:
    done = lab.run(PipelineTrigger(kind="schedule"), PRIVATE_OF_THIS="value")

    (file,) = [
        one
        for one in done.folder.rglob("*")
        if one.is_file() and "PRIVATE_OF_THIS" in one.read_text("latin-1")
    ]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_ci_file_that_is_not_valid(lab: Lab) -> None:
    (lab.repository / ".gitlab-ci.yml").write_text("lint: {scripts: [pylint]}\n")

    with pytest.raises(LocalStackError, match="CI file is not valid") as caught:
        lab.run()

    assert "must have script specified" in caught.value.cause
    remote = gitlab.Gitlab(lab.stack.gitlab_url, private_token=PROJECT_TOKEN).projects.get(PROJECT)
    (pipeline,) = remote.pipelines.list()
    assert pipeline.status == "failed"
    assert "must have script specified" in pipeline.yaml_errors


def test_a_template_that_is_not_there(lab: Lab) -> None:
    (lab.repository / ".gitlab-ci.yml").write_text(
        "include: [{project: platform/ml-ops, ref: '1', file: ci-templates/no.yml}]\n"
    )

    with pytest.raises(LocalStackError, match="CI file is not valid") as caught:
        lab.run()

    assert "ci-templates/no.yml" in caught.value.cause


def test_what_was_not_pushed(lab: Lab) -> None:
    with pytest.raises(LocalStackError, match=f"no commit {'0' * 40} in {PROJECT}"):
        run(lab.stack, PROJECT, "0" * 40)
    with pytest.raises(LocalStackError, match="no commit --all"):
        run(lab.stack, PROJECT, "--all")
    with pytest.raises(LocalStackError, match="no project models/unknown"):
        run(lab.stack, "models/unknown", "main")


def test_a_pipeline_that_hangs_is_stopped_with_all_its_processes(lab: Lab) -> None:
    pid_file = lab.folder / "pid"
    (lab.repository / ".gitlab-ci.yml").write_text(
        f"hang:\n  script:\n    - sleep 300 & echo $! > {pid_file}; wait\n"
    )
    started = time.monotonic()

    with pytest.raises(LocalStackError, match="did not end within 4 s"):
        options = PipelineOptions(limit_seconds=4)
        run(lab.stack, PROJECT, lab.push(), echo=lab.lines.append, options=options)

    assert time.monotonic() - started < 60
    assert not _alive(int(pid_file.read_text()))
    remote = gitlab.Gitlab(lab.stack.gitlab_url, private_token=PROJECT_TOKEN).projects.get(PROJECT)
    assert [job.status for job in remote.pipelines.get(1).jobs.list()] == ["canceled"]


def test_a_job_s_token_is_for_its_purpose_and_there_while_it_runs_and_not_after(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = lab.folder / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    role = "arn:aws:iam::123456789012:role/ml-ops"
    variables = {
        "VENV_BIN": str(lab.folder / "venv-bin"),
        "MLOPS_BUILD_ROLE_ARN": f"{role}-build",
        "MLOPS_TRAIN_ROLE_ARN": f"{role}-train",
    }
    lab = replace(lab, stack=replace(lab.stack, environment_name="dev"))  # whose jobs take roles

    def audiences() -> dict[str, str]:
        """By the name of the job whose program read a token."""
        tokens = {file.stem: file.read_text() for file in (lab.folder / "seen").glob("*.token")}
        claims = {name: token.split(".")[1] for name, token in tokens.items()}
        return {
            name: json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["aud"]
            for name, part in claims.items()
        }

    def left() -> list[Path]:
        """Files with the head of a token."""
        files = (file for file in temporary.rglob("*") if file.is_file())
        return [file for file in files if b"eyJ" in file.read_bytes()]

    done = lab.run(None, EVALUATE_EXIT="7", **variables)
    assert [done.job(name).exit_code for name in ("containerize", "train", "evaluate")] == [0, 0, 7]
    url = lab.stack.gitlab_url
    purposes = {"containerize": "build", "train": "train", "evaluate": "train", "notify": "train"}
    assert audiences() == {name: f"{url}/{purpose}" for name, purpose in purposes.items()}
    assert left() == []

    options = replace(lab.options(HANG="train", **variables), limit_seconds=15)
    (lab.folder / "seen" / "train.token").unlink()
    with pytest.raises(LocalStackError, match="did not end within 15 s"):
        run(lab.stack, PROJECT, lab.push(), echo=lab.lines.append, options=options)
    assert "train" in audiences()
    assert left() == []


def test_an_interrupted_pipeline_leaves_no_process(lab: Lab) -> None:
    pid_file = lab.folder / "pid"
    (lab.repository / ".gitlab-ci.yml").write_text(
        f"hang:\n  script:\n    - sleep 300 & echo $! > {pid_file}; echo now; wait\n"
    )

    def interrupt(line: str) -> None:
        if line == "hang > now":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(lab.stack, PROJECT, lab.push(), echo=interrupt)

    assert not _alive(int(pid_file.read_text()))
