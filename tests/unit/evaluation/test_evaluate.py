from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mlops import cli
from mlops.base.errors import (
    EvidenceError,
    GateFailedError,
    GitLabError,
    RunFailedError,
    RunTimeoutError,
    SettingsError,
    TriggerError,
    VersionError,
)
from mlops.base.result import Outcome
from mlops.contracts.evidence import CHALLENGER, CHAMPION, COMPARISON, FAILURE, Failure
from mlops.contracts.runs import TRAINING_DAG
from mlops.contracts.versions import ModelVersion
from mlops.evaluation.evaluate import EvaluateOptions, EvaluationTarget, evaluate, requested
from mlops.manifest import reader
from tests.unit.world import BUCKET, MODEL, PROJECT, World, dotenv_of, pipeline

VERSION, CHAMPION_VERSION = "1.3.0+retrain.0", "1.2.0+retrain.1"
EVIDENCE = f"s3://{BUCKET}/{PROJECT}/{MODEL}/1.3.0_retrain.0/"
RUN = "phishing-url-1-3-0.0123456789.1"


@dataclass
class Notes:
    """A merge request."""

    written: list[tuple[int, str, str]] = field(default_factory=list)
    refuses: bool = False

    def put_note(self, merge_request: int, marker: str, text: str) -> None:
        if self.refuses:
            raise GitLabError("GitLab did not write", cause="403")
        self.written.append((merge_request, marker, text))


@dataclass
class Job:
    """The job evaluate, in a directory of its own."""

    world: World
    directory: Path
    notes: Notes = field(default_factory=Notes)

    request: str = ""
    version: str = VERSION

    def run(self, run_id: str = RUN, wait: bool = True, timeout: float = 3600, **origin: Any) -> Outcome:
        subject = EvaluationTarget(
            project=PROJECT,
            model=MODEL,
            version=ModelVersion.parse(self.version),
            evidence_uri=EVIDENCE,
            run_id=run_id,
            request=self.request,
        )
        options = EvaluateOptions(
            directory=self.directory / "evaluation",
            dotenv=self.directory / "evaluate.env",
            wait=wait,
            timeout=timeout,
        )
        return evaluate(
            subject,
            options,
            pipeline(**origin),
            self.world.platform,
            notes=self.notes,
        )

    def files(self) -> list[str]:
        directory = self.directory / "evaluation"
        return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


@pytest.fixture
def job(world: World, tmp_path: Path) -> Job:
    world.airflow.runs[RUN] = "queued"
    return Job(world, tmp_path)


REPORT = ["annotations.json", "comparison.json", "evaluation.md", "metrics.txt"]


def test_a_better_model_is_reported_with_a_table(job: Job) -> None:
    job.world.evidence(EVIDENCE, VERSION, CHAMPION_VERSION)
    outcome = job.run()
    assert outcome.exit_code == 0
    assert outcome.summary.startswith(f"{MODEL} {VERSION} against champion {CHAMPION_VERSION}: gate passed\n")
    assert outcome.summary.splitlines()[-1].split() == [
        "f1",
        "0.9300",
        "0.9500",
        "+0.0200",
        "better",
        "passed",
    ]
    assert job.files() == REPORT
    assert dotenv_of(job.directory / "evaluate.env") == {
        "GATE": "passed",
        "CHAMPION_VERSION": CHAMPION_VERSION,
        "EVALUATION_URI": EVIDENCE + CHALLENGER,
    }
    assert json.loads(json.dumps(outcome.data))["comparison"]["gate"] == "passed"


def test_a_failed_gate_is_exit_code_40_after_everything_is_written(job: Job) -> None:
    job.world.evidence(EVIDENCE, VERSION, CHAMPION_VERSION, gate="failed")
    outcome = job.run(kind="merge_request", merge_request=3)
    assert outcome.exit_code == GateFailedError.exit_code == 40
    assert "✗ f1: 0.8 is below the minimum 0.9" in outcome.summary
    assert job.files() == REPORT
    assert dotenv_of(job.directory / "evaluate.env")["GATE"] == "failed"
    assert len(job.notes.written) == 1


@pytest.mark.parametrize("gate", ["passed", "failed"])
def test_of_a_pre_release_nobody_is_told_to_deploy_it(job: Job, gate: str) -> None:
    job.version = "1.3.0-mr3.12+retrain.0"
    job.world.evidence(EVIDENCE, job.version, CHAMPION_VERSION, gate=gate)
    outcome = job.run(kind="merge_request", merge_request=3)
    assert not any("mlops deploy" in step or "job deploy" in step for step in outcome.next_steps)
    assert ("Merge it" in outcome.next_steps[0]) == (gate == "passed")
    assert "`deploy`" not in job.notes.written[0][2]


def test_the_first_model_has_no_champion(job: Job) -> None:
    job.world.evidence(EVIDENCE, VERSION)
    assert "against no champion" in job.run().summary
    assert dotenv_of(job.directory / "evaluate.env")["CHAMPION_VERSION"] == ""


def test_what_was_not_trained_is_reported_from_its_evidence(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.world.evidence(EVIDENCE, VERSION, CHAMPION_VERSION)
    job.world.airflow.runs.clear()
    assert job.run(run_id="").exit_code == 0
    assert "nothing new to evaluate" in capsys.readouterr().err
    assert job.files() == REPORT


def test_a_merge_request_gets_one_note_under_a_marker_of_the_model(job: Job) -> None:
    job.world.evidence(EVIDENCE, VERSION, CHAMPION_VERSION)
    job.run(kind="merge_request", merge_request=3)
    ((merge_request, marker, text),) = job.notes.written
    assert (merge_request, marker) == (3, "<!-- ml-ops:evaluation:web-safety/phishing-url -->")
    assert text == (job.directory / "evaluation" / "evaluation.md").read_text(encoding="utf-8")


def test_outside_a_merge_request_there_is_no_note(job: Job) -> None:
    job.world.evidence(EVIDENCE, VERSION, CHAMPION_VERSION)
    job.run()
    assert not job.notes.written


def test_a_note_that_gitlab_refuses_is_a_warning(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    job.world.evidence(EVIDENCE, VERSION, CHAMPION_VERSION)
    job.notes.refuses = True
    assert job.run(kind="merge_request", merge_request=3).exit_code == 0
    assert "! GitLab did not write" in capsys.readouterr().err


def test_a_failed_training_is_reported_with_its_cause_and_log(job: Job) -> None:
    failure = Failure(
        schema_version=1,
        project=PROJECT,
        model=MODEL,
        model_version=VERSION,
        dag_id=TRAINING_DAG,
        run_id=RUN,
        task_id="train",
        cause="ValueError: could not convert string to float",
        log_url="https://logs.example/1",
        next_step="Fix the training code and push.",
    )
    job.world.storage.write_record(failure, EVIDENCE + FAILURE)
    job.world.airflow.course = ["running", "failed"]
    with pytest.raises(
        RunFailedError, match=re.escape(f"Training of {MODEL} {VERSION} failed at train")
    ) as caught:
        job.run()
    assert caught.value.cause == failure.cause
    assert caught.value.link == "https://logs.example/1"
    assert caught.value.next_step == failure.next_step
    text = (job.directory / "evaluation" / "evaluation.md").read_text(encoding="utf-8")
    assert failure.cause in text
    assert "https://logs.example/1" in (job.directory / "evaluation" / "annotations.json").read_text(
        encoding="utf-8"
    )


def test_a_wait_that_is_too_long_is_resumed_by_a_retry(job: Job) -> None:
    job.world.evidence(EVIDENCE, VERSION, CHAMPION_VERSION)
    job.world.airflow.course = ["running"] * 100 + ["success"]
    with pytest.raises(RunTimeoutError, match="not over"):
        job.run(timeout=20)
    assert job.run().exit_code == 0
    assert len(job.world.airflow.runs) == 1


def test_no_wait_says_how_it_goes_and_reports_when_it_is_over(job: Job) -> None:
    job.world.evidence(EVIDENCE, VERSION, CHAMPION_VERSION)
    first = job.run(wait=False)
    assert first.exit_code == 0
    assert first.data["state"] == "queued"
    assert not job.files()
    job.run(wait=False)
    assert job.run(wait=False).data["gate"] == "passed"
    assert job.world.seconds == 0


@pytest.mark.parametrize("wait", [True, False])
def test_a_run_that_airflow_does_not_know(job: Job, wait: bool) -> None:
    with pytest.raises(TriggerError, match="run not found"):
        job.run(run_id="other", wait=wait)


@pytest.mark.parametrize("missing", [COMPARISON, CHALLENGER, CHAMPION])
def test_missing_evidence_names_the_object(job: Job, missing: str) -> None:
    job.world.evidence(EVIDENCE, VERSION, CHAMPION_VERSION)
    job.world.storage.delete(EVIDENCE + missing)
    with pytest.raises(EvidenceError, match="no usable evaluation") as caught:
        job.run()
    assert f"{EVIDENCE}{missing} does not exist" in caught.value.cause
    assert not job.files()


@pytest.mark.parametrize(
    "broken", [b"{", b'{"schema_version": 1}', b'{"schema_version": 1, "metrics": {"f1": NaN}}']
)
def test_broken_evidence_names_the_object(job: Job, broken: bytes) -> None:
    job.world.evidence(EVIDENCE, VERSION, CHAMPION_VERSION)
    job.world.storage.write(broken, EVIDENCE + CHALLENGER if b"NaN" in broken else EVIDENCE + COMPARISON)
    with pytest.raises(EvidenceError) as caught:
        job.run()
    assert EVIDENCE in caught.value.cause


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (
            r'{"schema_version": 1, "metrics": {"f1": 0.9}, "counts": {"caf\udce9": 1}}',
            ".counts holds half of a",
        ),
        ('{"schema_version": 1, "metrics": {"f1": 0.1, "f1": 0.9}}', ".metrics has the key 'f1' twice"),
    ],
)
def test_a_challengers_evaluation_that_cannot_be_right_is_refused(job: Job, content: str, cause: str) -> None:
    job.world.evidence(EVIDENCE, VERSION, CHAMPION_VERSION)
    job.world.storage.write(content.encode(), EVIDENCE + CHALLENGER)
    with pytest.raises(EvidenceError, match="no usable evaluation") as caught:
        job.run()
    assert EVIDENCE + CHALLENGER + cause in caught.value.cause


@pytest.mark.parametrize(
    "more",
    [
        r'"counts": {"caf\udce9": 1}',
        '"counts": {"a": 1, "a": 2}',
        r'"slices": {"\u202e\u0000": {"f1": 1.0}}',
        '"confusion_matrix": {"labels": ["a", "a"], "matrix": [[1, -2], [3, 4]]}',
    ],
)
def test_a_champion_of_an_earlier_release_is_shown_whatever_its_text(job: Job, more: str) -> None:
    job.world.evidence(EVIDENCE, VERSION, CHAMPION_VERSION)
    content = '{"schema_version": 1, "metrics": {"f1": 0.9}, ' + more + "}"
    job.world.storage.write(content.encode(), EVIDENCE + CHAMPION)
    assert job.run().exit_code == 0
    assert job.files() == REPORT


def test_evidence_about_another_version_is_refused(job: Job) -> None:
    job.world.evidence(EVIDENCE, "1.2.9+retrain.0", CHAMPION_VERSION)
    with pytest.raises(EvidenceError, match="another model"):
        job.run()


def test_a_joined_run_of_an_earlier_manifest_is_not_this_pipelines(job: Job) -> None:
    job.world.model(VERSION, CHAMPION_VERSION, asked="1" * 64)
    job.request = "1" * 64
    assert job.run().exit_code == 0
    job.request = "2" * 64
    with pytest.raises(EvidenceError, match=r"as an earlier mlops\.yml asked") as caught:
        job.run()
    assert "job train again" in caught.value.next_step


def test_without_lineage_there_is_nothing_to_compare_with(job: Job) -> None:
    job.world.evidence(EVIDENCE, VERSION, CHAMPION_VERSION)
    job.request = "1" * 64
    with pytest.raises(EvidenceError, match="The lineage of") as caught:
        job.run()
    assert "lineage.json does not exist" in caught.value.cause


def test_links_lead_to_the_report_and_to_the_run(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(job.directory)
    job.directory = Path()
    job.world.evidence(EVIDENCE, VERSION, CHAMPION_VERSION)
    job.run()
    links = json.loads(Path("evaluation/annotations.json").read_text(encoding="utf-8"))["Model evaluation"]
    assert [link["external_link"]["url"] for link in links] == [
        "https://gitlab.example/job/1/artifacts/file/evaluation/evaluation.md",
        "https://airflow.example/run",
    ]


def _requested(version: str = "", run: str = "", **variables: str) -> tuple[str, str]:
    arguments = argparse.Namespace(model_version=version or None, run_id=run or None)
    found, run_id = requested(arguments, variables)
    return str(found), run_id


def test_the_version_comes_from_the_job_train_or_the_command_line() -> None:
    assert _requested(MODEL_VERSION=VERSION, DAG_RUN_ID=RUN) == (VERSION, RUN)
    assert _requested(MODEL_VERSION=VERSION, DAG_RUN_ID="", TRAINED="false") == (VERSION, "")
    assert _requested(VERSION, "mine", MODEL_VERSION=VERSION, DAG_RUN_ID=RUN) == (VERSION, "mine")
    # The run of the pipeline's own version says nothing about another one.
    assert _requested(CHAMPION_VERSION, MODEL_VERSION=VERSION, DAG_RUN_ID=RUN) == (CHAMPION_VERSION, "")


def test_without_a_version_the_job_that_makes_it_is_named() -> None:
    with pytest.raises(SettingsError, match="MODEL_VERSION is missing") as caught:
        _requested()
    assert "train" in caught.value.cause
    with pytest.raises(VersionError):
        _requested("1.3.0")


@pytest.mark.parametrize(
    ("training", "hours"),
    [
        ("{}", 1.5),
        ("{max_runtime: 8h}", 8.5),
        ("{max_runtime: 2h, spot: true}", 4.5),
        ("{max_runtime: 2h, spot: true, max_wait: 6h}", 6.5),
    ],
)
def test_the_wait_holds_the_longest_training_of_the_manifest(
    tmp_path: Path, training: str, hours: float
) -> None:
    text = f"""
project: p
models:
  m:
    training: {training.replace("{", "{channels: {train: d}, ")}
    evaluation: {{data: d, metrics: [{{name: f1}}]}}
    deployment: {{smoke_test: {{body: x}}}}
environments: {{dev: {{m: {{training: {{max_runtime: 50h, spot: false, max_wait: null}}}}}}}}
"""
    (tmp_path / "mlops.yml").write_text(text.replace(", }", "}"), encoding="utf-8")
    arguments = cli.build_parser("evaluate").parse_args(["evaluate"])
    read = partial(EvaluateOptions.read, arguments)
    prod = reader.load(tmp_path / "mlops.yml").model()
    assert read(prod, {}).timeout == (hours + 1) * 3600
    assert read(prod, {"MLOPS_WAIT_SECONDS": "0"}).timeout == (hours + 1) * 3600
    assert read(prod, {"MLOPS_WAIT_SECONDS": "60"}).timeout == 60
    assert read(reader.load(tmp_path / "mlops.yml", "dev").model(), {}).timeout == 51.5 * 3600
