"""What the upstream is told, and that no token, or one that may not write, is not a failure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from mlops.base.errors import GitLabError
from mlops.ci.pipeline import Pipeline
from mlops.clients.gitlab.project import connect_upstream
from mlops.contracts.upstream import Upstream
from mlops.downstream.answer import ModelResult, answer

PIPELINE = "https://gitlab/platform/ml-ops/-/pipelines/99"
REPORT = "## phishing-url 1.3.0-mr42.7+retrain.0: the gate passed\n"


@dataclass
class Desk:
    """The upstream, as far as a token writes there; `refusals` are what GitLab does not let us do."""

    statuses: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    notes: list[tuple[int, str, str]] = field(default_factory=list)
    refusals: set[str] = field(default_factory=set)

    def set_status(self, commit: str, status: Mapping[str, str]) -> None:
        self._refuse("status")
        self.statuses.append((commit, dict(status)))

    def put_note(self, merge_request: int, marker: str, text: str) -> None:
        self._refuse("note")
        self.notes.append((merge_request, marker, text))

    def _refuse(self, what: str) -> None:
        if what in self.refusals:
            raise GitLabError(f"GitLab did not write the {what}", cause="403: insufficient_scope")


def pipeline(**facts: str | int) -> Pipeline:
    said = {"merge_request": 42, "change": "merge_request", "ref": "!42", **facts}
    upstream = Upstream(
        project_id=7,
        project_path="models/phishing-url",
        commit="a" * 40,
        title="fix: it",
        source="merge_request_event",
        pipeline_id=12,
        **said,  # type: ignore[arg-type]
    )
    ours = {"CI_PIPELINE_SOURCE": "pipeline", "CI_PIPELINE_URL": PIPELINE, "CI_PROJECT_ID": "1"}
    return Pipeline.from_environment({**ours, **upstream.variables()})


def test_the_commit_gets_a_status_and_the_merge_request_the_report() -> None:
    desk = Desk()
    result = ModelResult(
        model="phishing-url", state="success", gate="passed", version="1.3.0-mr42.7+retrain.0", report=REPORT
    )

    outcome = answer(result, pipeline(), desk)

    assert desk.statuses == [
        (
            "a" * 40,
            {
                "state": "success",
                "name": "ml-ops/phishing-url",
                "target_url": PIPELINE,
                "description": "phishing-url 1.3.0-mr42.7+retrain.0: the pipeline succeeded, the gate passed",
                "pipeline_id": "12",
            },
        )
    ]
    ((number, marker, text),) = desk.notes
    assert (number, marker) == (42, "<!-- ml-ops:pipeline:phishing-url -->")
    assert text.startswith(REPORT.strip())
    assert f"[Pipeline]({PIPELINE})" in text
    assert outcome.data["told"] == ["the commit aaaaaaaa", "the merge request !42"]


def test_a_push_has_no_merge_request_to_write_to() -> None:
    desk = Desk()

    answer(
        ModelResult(model="phishing-url", state="failed"),
        pipeline(change="default_branch", ref="main", merge_request=0),
        desk,
    )

    assert desk.notes == []
    assert desk.statuses[0][1]["state"] == "failed"
    assert desk.statuses[0][1]["description"] == "phishing-url: the pipeline failed"


def test_a_token_that_only_reads_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk(refusals={"status", "note"})

    outcome = answer(ModelResult(model="phishing-url", state="success"), pipeline(), desk)

    assert outcome.exit_code == 0
    assert capsys.readouterr().err.count("\n") == 1
    assert "Reported nothing to models/phishing-url" in outcome.summary


@pytest.mark.parametrize(
    ("refusal", "told"), [("note", "the commit aaaaaaaa"), ("status", "the merge request !42")]
)
def test_what_may_be_written_is_whatever_else_is_refused(
    refusal: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = answer(ModelResult(model="phishing-url", state="success"), pipeline(), Desk(refusals={refusal}))

    assert outcome.data["told"] == [told]
    assert f"did not get the whole report: GitLab did not write the {refusal}" in capsys.readouterr().err


def test_without_a_token_there_is_the_trigger_job(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = answer(ModelResult(model="phishing-url", state="success"), pipeline(), None)

    assert "MLOPS_UPSTREAM_TOKEN is not set" in outcome.summary
    assert capsys.readouterr().err == ""


def test_nobody_is_told_what_was_not_found_out() -> None:
    """Where fetch failed, the trigger's words are all there is, and they may name anybody's merge request."""
    desk = Desk()
    claimed = Pipeline.from_environment({"CI_PIPELINE_SOURCE": "pipeline", "CI_PROJECT_ID": "1"})

    answer(ModelResult(model="phishing-url", state="failed"), claimed, desk)

    assert (desk.statuses, desk.notes) == ([], [])


@pytest.mark.parametrize("missing", ["MLOPS_UPSTREAM_TOKEN", "CI_SERVER_URL", "MLOPS_UPSTREAM_PROJECT_ID"])
def test_the_upstream_is_reached_only_with_everything(missing: str) -> None:
    variables = {
        "MLOPS_UPSTREAM_TOKEN": "t",
        "CI_SERVER_URL": "https://gitlab.example",
        "MLOPS_UPSTREAM_PROJECT_ID": "7",
    }

    assert connect_upstream(variables) is not None
    assert connect_upstream(variables | {missing: ""}) is None
