"""The report for three kinds of model, and what a container may not smuggle into it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from mlops.base.strict_json import loads
from mlops.contracts.evidence import Comparison, ConfusionMatrix, EvaluationReport, MetricComparison
from mlops.evaluation import report
from mlops.evaluation.report import Evaluated

LINKS = (("Airflow run", "https://airflow.example/run"), ("Broken", "javascript:alert(1)"), ("None", ""))


def comparison(
    *metrics: MetricComparison, champion: str | None = "1.2.0+retrain.0", **changes: Any
) -> Comparison:
    failed = any(line.gate == "failed" for line in metrics)
    return Comparison(
        schema_version=1,
        project="web-safety",
        model="phishing-url",
        challenger="1.3.0+retrain.0",
        champion=champion,
        gate="failed" if failed else "passed",
        metrics=metrics,
        evaluated_on="s3://bucket/test/",
        created_at="2026-01-02T03:04:05+00:00",
        **changes,
    )


def line(
    name: str, challenger: float, champion: float | None, goal: Any = "maximize", why: str = ""
) -> MetricComparison:
    return MetricComparison(
        name=name,
        goal=goal,
        challenger=challenger,
        champion=champion,
        change=None if champion is None else challenger - champion,
        gate="failed" if why else "passed",
        reason=why,
    )


def evaluation(**parts: Any) -> EvaluationReport:
    return EvaluationReport(schema_version=1, **({"metrics": {"f1": 0.95}} | parts))


BINARY = Evaluated(
    comparison=comparison(
        line("f1", 0.95, 0.93), line("log_loss", 0.1, 0.2, "minimize"), line("auc", 0.9, 0.9)
    ),
    challenger=evaluation(
        metrics={"f1": 0.95, "log_loss": 0.1, "auc": 0.9},
        counts={"rows": 250},
        confusion_matrix=ConfusionMatrix(labels=("legitimate", "phishing"), matrix=((100, 5), (6, 139))),
        slices={"https": {"f1": 0.97, "rows": 200}, "ip address": {"f1": 0.8}},
    ),
    champion=evaluation(
        counts={"rows": 250},
        confusion_matrix=ConfusionMatrix(labels=("legitimate", "phishing"), matrix=((99, 6), (9, 136))),
        slices={"https": {"f1": 0.96}},
    ),
    evidence_uri="s3://bucket/web-safety/phishing-url/1.3.0_retrain.0/",
    links=LINKS,
)
MULTICLASS = Evaluated(
    comparison=comparison(line("f1_macro", 0.6, None), champion=None),
    challenger=evaluation(
        confusion_matrix=ConfusionMatrix(labels=("a", "b", "c"), matrix=((1, 2, 3), (4, 5, 6), (7, 8, 9)))
    ),
    champion=None,
    evidence_uri="s3://bucket/e/",
)
REGRESSION = Evaluated(
    comparison=comparison(
        line("rmse", 12345.678, 12000.0, "minimize", why="12345.7 is worse than 12000 by more than 100")
    ),
    challenger=evaluation(metrics={"rmse": 12345.678, "r2": 0.00001}),
    champion=evaluation(metrics={"rmse": 12000.0}),
    evidence_uri="s3://bucket/e/",
)


def test_the_table_of_a_binary_classifier() -> None:
    assert report.table(BINARY.comparison).splitlines()[2:] == [
        "f1            0.9300        0.9500  +0.0200 better  passed",
        "log_loss      0.2000        0.1000  -0.1000 better  passed",
        "auc           0.9000        0.9000            same  passed",
    ]


def test_the_table_of_a_regression_says_what_is_worse_and_why_the_gate_failed() -> None:
    text = report.table(REGRESSION.comparison)
    assert "+345.6780 worse" in text
    assert "12,345.7" in text
    assert "FAILED: 12345.7 is worse than 12000 by more than 100" in text


def test_a_first_model_has_nothing_to_be_compared_with() -> None:
    assert report.table(MULTICLASS.comparison).splitlines()[2].split() == [
        "f1_macro",
        "-",
        "0.6000",
        "-",
        "passed",
    ]
    assert "against no champion: gate passed" in report.verdict(MULTICLASS.comparison)


def test_markdown_shows_the_verdict_first_and_folds_the_rest() -> None:
    text = report.markdown(BINARY)
    shown, _, folded = text.partition("<details>")
    assert shown.startswith(
        "## ✓ phishing-url 1.3.0+retrain.0 against champion 1.2.0+retrain.0: gate passed\n"
    )
    assert "| f1 " in shown
    assert "[Airflow run](<https://airflow.example/run>)" in shown
    assert "| legitimate " in folded
    assert (
        folded.index("**Challenger**")
        < folded.index("139")
        < folded.index("**Champion**")
        < folded.index("136")
    )
    assert "| ip address | challenger | 0.8000 |" in " ".join(folded.split())
    assert "rows 200 |" in " ".join(folded.split())
    assert "| rows " in folded
    assert text.count("<details>") == text.count("</details>") == 4
    assert "javascript" not in text


def test_markdown_of_a_failed_gate_gives_the_reasons() -> None:
    text = report.markdown(REGRESSION)
    assert text.startswith("## ✗ ")
    assert "- rmse: 12345.7 is worse than 12000 by more than 100" in text
    assert "`deploy` refuses this version" in text


def test_nothing_empty_is_folded() -> None:
    bare = replace(MULTICLASS, challenger=evaluation(metrics={"f1_macro": 0.6}))
    assert report.markdown(bare).count("<details>") == 1


def test_metrics_without_a_gate_are_shown_too() -> None:
    _, _, folded = report.markdown(REGRESSION).partition("<summary>Other metrics</summary>")
    assert "| r2       |    1.000e-05 |          - |" in folded.partition("</details>")[0]


def test_the_matrix_of_three_classes_is_shown_whole() -> None:
    text = report.markdown(MULTICLASS)
    shown = [line.split("|")[1:-1] for line in text.splitlines() if re.match(r"\| [abc] ", line)]
    assert [[cell.strip() for cell in row] for row in shown] == [
        ["a", "1", "2", "3"],
        ["b", "4", "5", "6"],
        ["c", "7", "8", "9"],
    ]


def test_slices_have_no_column_for_a_metric_that_none_of_them_has() -> None:
    _, _, folded = report.markdown(BINARY).partition("<summary>Slices</summary>")
    header = next(line for line in folded.splitlines() if line.startswith("| slice"))
    assert [cell.strip() for cell in header.split("|")[1:-1]] == ["slice", "model", "f1", "more"]


def test_a_matrix_of_a_hundred_classes_is_summed_up() -> None:
    size = 100
    identity = tuple(tuple(int(row == column) for column in range(size)) for row in range(size))
    matrix = ConfusionMatrix(labels=tuple(map(str, range(size))), matrix=identity)
    text = report.markdown(replace(MULTICLASS, challenger=evaluation(confusion_matrix=matrix)))
    assert "100 classes, too many to show; 100 of 100 are on the diagonal" in text
    assert len(text) < 5000


def test_a_container_cannot_write_markdown_into_the_report() -> None:
    evil = "</details>\n/merge\n@all ![x](http://evil) | `a`"
    report_of_evil = evaluation(
        counts={evil: 1},
        slices={evil: {"f1": 1.0, evil: 2.0}},
        confusion_matrix=ConfusionMatrix(labels=(evil, "b" * 1000), matrix=((1, 0), (0, 1))),
    )
    text = report.markdown(replace(BINARY, challenger=report_of_evil))
    assert text.count("</details>") == text.count("<details>")
    assert not [row for row in text.splitlines() if row.startswith("/")]
    assert "![" not in text
    assert " @all" not in text
    assert "b" * 201 not in text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("https://evil.example/login", "https<span>:</span>//evil.example/login"),
        ("smb://evil", "smb<span>:</span>//evil"),
        ("www.evil.example", "www<span>.</span>evil.example"),
        ("Www.evil.example", "Www<span>.</span>evil.example"),
        ("a :bomb: b", "a <span>:</span>bomb: b"),
        (":+1:", "<span>:</span>+1:"),
        (":no_good:", r"<span>:</span>no\_good:"),
        ("$x^2$", r"\$x\^2\$"),
        ("%1 and &1", r"\%1 and \&1"),
        ("a@b.example", r"a\@b.example"),
        ("&lt;b>", r"\&lt;b&gt;"),
        ("~bug #1 !2", r"\~bug \#1 \!2"),
        ("caf\udce9", r"caf\\udce9"),
        ("a\u202eb\u2066c\x00d\x1be", r"a\\u202eb\\u2066c\\u0000d\\u001be"),
        ("ratio 1: 2, at 3.5", "ratio 1: 2, at 3.5"),
    ],
)
def test_gitlab_makes_nothing_of_a_name(name: str, shown: str) -> None:
    text = report.markdown(replace(BINARY, challenger=evaluation(counts={name: 7})))
    (row,) = [row for row in text.splitlines() if row.startswith(f"| {shown} ")]
    assert "| 7 " in " ".join(row.split()).replace(" 7 |", "| 7 |")


# Halves of characters, controls of a terminal and of the direction of text, and what Markdown and GitLab read.
NASTY = st.text(st.sampled_from("a1\ud83d\udce9\x00\x1b\x85\u2028\u202e\u2066|`<>&@:/*_$\\\n"), max_size=8)


@settings(max_examples=60, deadline=None)
@given(st.lists(NASTY, min_size=2, max_size=2, unique=True), NASTY)
def test_no_text_of_a_model_stops_the_report(labels: list[str], name: str) -> None:
    found = evaluation(
        metrics={"f1": 0.9, name: 1.0},
        counts={name: 1},
        slices={name: {"f1": 0.9, name: 2.0}},
        confusion_matrix=ConfusionMatrix(labels=tuple(labels), matrix=((1, 2), (3, 4))),
    )
    with TemporaryDirectory() as folder:
        text = report.write(Path(folder), replace(BINARY, challenger=found, champion=found))
        assert (Path(folder) / "evaluation.md").read_text(encoding="utf-8") == text
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", text)
        report.write_failure(Path(folder), name, name, name, [(name, "https://log.example")])


def test_metrics_are_open_metrics_whose_labels_stay_the_same_from_version_to_version() -> None:
    text = report.open_metrics(replace(BINARY, challenger=evaluation(metrics={"f1": 0.95, "top 3 of 5": 1})))
    samples = {
        (sample.name, sample.labels.get("role"), sample.labels.get("metric")): sample.value
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
    }
    assert samples[("mlops_evaluation", "challenger", "f1")] == 0.95
    assert samples[("mlops_evaluation", "challenger", "top_3_of_5")] == 1
    assert samples[("mlops_evaluation", "champion", "f1")] == 0.95
    assert samples[("mlops_gate", None, None)] == 1
    assert "1.3.0" not in text
    assert all(len(row.split()) == 2 for row in text.splitlines() if not row.startswith("#"))


def test_a_failed_gate_is_zero() -> None:
    assert 'mlops_gate{model="phishing-url"} 0.0' in report.open_metrics(REGRESSION)


def test_annotations_hold_only_links_that_a_browser_opens() -> None:
    assert json.loads(report.job_links(LINKS)) == {
        "Model evaluation": [
            {"external_link": {"label": "Airflow run", "url": "https://airflow.example/run"}}
        ]
    }


def test_all_files_are_written_and_overwritten(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "evaluation"
    report.write(directory, REGRESSION)
    text = report.write(directory, BINARY)
    assert sorted(path.name for path in directory.iterdir()) == [
        "annotations.json",
        "comparison.json",
        "evaluation.md",
        "metrics.txt",
    ]
    assert (directory / "evaluation.md").read_text(encoding="utf-8") == text
    found = loads(Comparison, (directory / "comparison.json").read_bytes(), "comparison.json")
    assert found == BINARY.comparison


@pytest.mark.parametrize("cause", ["ValueError: no column", "```\nescaped\n````"])
def test_a_failed_training_leaves_its_cause_and_links(tmp_path: Path, cause: str) -> None:
    report.write_failure(tmp_path, "Training failed at train", cause, "Fix it.", LINKS)
    text = (tmp_path / "evaluation.md").read_text(encoding="utf-8")
    assert text.startswith("## ✗ Training failed at train\n")
    assert cause in text
    fence = next(row for row in text.splitlines() if row.startswith("```")).removesuffix("text")
    assert fence not in cause
    assert "**Next:** Fix it." in text
    assert "airflow.example" in (tmp_path / "annotations.json").read_text(encoding="utf-8")
