"""Every message within the channels' limits, whatever stands in it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.base.strict_json import dumps, loads
from mlops.contracts.evidence import Comparison, EvaluationReport, Failure
from mlops.contracts.message import Message
from mlops.contracts.runs import DeploymentConf, Origin, Override, TrainingConf
from mlops.evaluation.gate import compare
from mlops.notifications import messages
from mlops.training.lineage import lineage

FAILURE = Failure(
    schema_version=1,
    project="web-safety",
    model="phishing-url",
    model_version="1.3.0+retrain.0",
    dag_id="model_training",
    run_id="phishing.1",
    task_id="train",
    cause="AlgorithmError: exit code 1\nValueError: column 'age' is missing",
    log_url="https://logs.example/train",
    next_step="Correct the training code and push.",
)


def comparison(conf: TrainingConf, f1: float, champion: float | None = 0.9) -> Comparison:
    def report(value: float) -> EvaluationReport:
        return EvaluationReport(schema_version=1, metrics={"f1": value, "log_loss": 0.2})

    return compare(
        conf,
        champion_version="1.2.0+retrain.0" if champion else None,
        challenger=report(f1),
        champion=report(champion) if champion else None,
        created_at="2026-01-02T03:04:05+00:00",
    )


def finished(conf: TrainingConf, f1: float, champion: float | None = 0.9) -> Message:
    record = lineage(
        conf,
        training_job="train--x",
        model_artifact="s3://b/m.tar.gz",
        fingerprint="f" * 64,
        dag_run_id="phishing.1",
        created_at="2026-01-02T03:04:05+00:00",
    )
    return messages.training_finished(conf, comparison(conf, f1, champion), record)


def slack_text(message: Message) -> str:
    return json.dumps(message.blocks)


def assert_within_limits(message: Message) -> None:
    assert 0 < len(message.subject) < 100
    assert message.subject.isascii()
    assert message.subject.isprintable()
    assert len(message.body.encode()) <= 256 * 1024
    assert 0 < len(message.blocks) <= 50
    for block in message.blocks:
        if block["type"] == "section":
            assert 0 < len(block["text"]["text"]) <= 3000
        if block["type"] == "header":
            assert 0 < len(block["text"]["text"]) <= 150


def test_a_finished_training_has_the_table_and_the_links(training: TrainingConf) -> None:
    message = finished(training, 0.91)
    assert message.subject == "phishing-url 1.3.0+retrain.0: trained, gate passed"
    assert "metric    champion  challenger          change  gate" in message.body
    assert "f1          0.9000      0.9100  +0.0100 better  passed" in message.body
    assert "Pipeline: https://gitlab.example/web/phishing/-/pipelines/7" in message.body
    assert "run the job `deploy`" in message.body
    assert "<https://gitlab.example/web/phishing/-/pipelines/7|Pipeline>" in slack_text(message)
    assert_within_limits(message)


def test_a_first_model_shows_no_change(training: TrainingConf) -> None:
    message = finished(training, 0.91, champion=None)
    assert "nothing in production yet" in message.body
    assert "f1               -      0.9100       -  passed" in message.body


def test_a_failed_gate_says_why_in_both_channels(training: TrainingConf) -> None:
    message = finished(training, 0.7)
    assert message.subject.endswith("gate FAILED")
    assert "0.7 is below the minimum 0.8" in message.body
    assert "0.7 is below the minimum 0.8" in slack_text(message)
    assert "refuses this version" in message.body


@pytest.mark.parametrize("f1", [0.95, 0.1])
def test_of_a_pre_release_nobody_is_told_to_deploy_it(
    training: TrainingConf, deployment: DeploymentConf, f1: float
) -> None:
    version = "1.3.0-mr4.2"
    conf = replace(
        training,
        model_version=f"{version}+retrain.0",
        image_version=version,
        deployment=deployment.deployment,
    )
    message = finished(conf, f1)
    for text in (message.body, slack_text(message)):
        assert "`deploy`" not in text
        assert "model registry" not in text
        assert ("merge it" in text) == (f1 > 0.5)


def test_a_deployment_shows_the_endpoint_and_an_override(deployment: DeploymentConf) -> None:
    plain = messages.deployed(
        deployment, endpoint_config="c--1", replaced="1.2.0+retrain.0", answer='{"model": {}}'
    )
    assert plain.subject == "phishing-url 1.3.0+retrain.0: deployed"
    for fact in ("web-safety--phishing-url", "1 x ml.m5.large", "Before: 1.2.0+retrain.0", '{"model": {}}'):
        assert fact in plain.body
    conf = replace(deployment, override=Override(reason="hotfix, agreed with Ann", user="bob"))
    overridden = messages.deployed(conf, endpoint_config="c--1", replaced=None, answer="{}")
    assert overridden.subject.endswith("deployed by OVERRIDE")
    assert "Override by bob: hotfix, agreed with Ann" in overridden.body
    assert "Override by bob" in slack_text(overridden)


def test_a_failure_has_cause_log_pipeline_and_next_step(training: TrainingConf) -> None:
    message = messages.run_failed(FAILURE, training.origin)
    assert message.subject == "phishing-url 1.3.0+retrain.0: model_training FAILED at train"
    for text in (message.body, slack_text(message)):
        assert "column 'age' is missing" in text
        assert "https://logs.example/train" in text
        assert "pipelines/7" in text
        assert "Correct the training code" in text


def test_a_failure_before_the_model_is_known_still_reads_well() -> None:
    message = messages.run_failed(replace(FAILURE, model="", model_version="", log_url=""), Origin())
    assert message.subject == "a model: model_training FAILED at train"
    assert_within_limits(message)


def test_a_failed_job_of_ci_names_job_stage_and_log(training: TrainingConf) -> None:
    message = messages.job_failed(
        job="containerize",
        stage="build",
        cause="",
        model="phishing-url",
        job_url="https://g/-/jobs/1",
        origin=training.origin,
    )
    assert message.subject == "phishing-url: job containerize FAILED"
    assert "Log: https://g/-/jobs/1" in message.body
    assert_within_limits(message)


def test_a_failed_pipeline_is_named_where_its_jobs_cannot_be(training: TrainingConf) -> None:
    message = messages.pipeline_failed("phishing-url", training.origin)
    assert message.subject == "phishing-url: pipeline FAILED"
    assert f"Pipeline: {training.origin.pipeline_url}" in message.body
    assert_within_limits(message)


def test_what_a_person_typed_cannot_become_a_link_or_call_everybody(training: TrainingConf) -> None:
    origin = replace(training.origin, commit_title="<!channel> see <https://evil.example|here> ```")
    message = finished(replace(training, origin=origin), 0.91)
    assert "<!channel>" not in slack_text(message)
    assert "<https://evil" not in slack_text(message)
    assert "&lt;!channel&gt;" in slack_text(message)


def test_a_line_break_cannot_add_a_header_to_an_e_mail(training: TrainingConf) -> None:
    failure = replace(FAILURE, task_id="train\r\nBcc: all@example.com")
    assert "\n" not in messages.run_failed(failure, training.origin).subject
    assert "\r" not in messages.run_failed(failure, training.origin).subject


def test_what_no_database_holds_is_replaced(training: TrainingConf) -> None:
    """Airflow hands a message over in PostgreSQL's jsonb, and SNS takes UTF-8."""
    origin = replace(training.origin, commit_title="fix \ud800")
    failed = replace(FAILURE, cause="Last lines of its log:\n\x00\x00 5 %\udfff", model="url\x00")
    message = messages.run_failed(failed, origin)
    text = message.subject + message.body + json.dumps(message.blocks, ensure_ascii=False)
    assert text.encode().count("\ufffd".encode()) == 2 * len("\x00\x00\x00\udfff\ud800")
    assert "\\u0000" not in text


def test_a_message_travels_as_json(training: TrainingConf) -> None:
    message = finished(training, 0.91)
    assert loads(Message, dumps(message), "message") == message


@given(cause=st.text(max_size=9000), title=st.text(max_size=400), model=st.text(max_size=200))
def test_no_text_breaks_a_limit(cause: str, title: str, model: str) -> None:
    origin = Origin(commit_title=title, pipeline_url="https://g/" + title[:20])
    assert_within_limits(messages.run_failed(replace(FAILURE, cause=cause, model=model), origin))


@pytest.mark.parametrize("character", ["x", "&", "é", "\n", "```"])
def test_long_causes_are_split_or_cut(character: str) -> None:
    message = messages.run_failed(replace(FAILURE, cause=character * 300_000), Origin())
    assert_within_limits(message)


def test_many_metrics_stay_within_the_blocks(training: TrainingConf) -> None:
    many = comparison(training, 0.91)
    many = replace(many, metrics=many.metrics * 2000, gate="failed")
    record = lineage(
        training,
        training_job="t",
        model_artifact="s3://b/m",
        fingerprint="f",
        dag_run_id="r",
        created_at="now",
    )
    message = messages.training_finished(training, many, record)
    assert_within_limits(message)
    for block in message.blocks:
        text = block.get("text", {}).get("text", "")
        assert text.count("```") in (0, 2)


def test_what_is_cut_says_where_the_whole_is(training: TrainingConf) -> None:
    message = messages.run_failed(replace(FAILURE, cause="x" * 300_000), training.origin)
    assert f"cut here; the whole: {FAILURE.log_url}" in message.body
    assert f"cut here; the whole: {FAILURE.log_url}" in slack_text(message).encode().decode("unicode_escape")
    many = comparison(training, 0.91)
    many = replace(many, metrics=many.metrics * 6000, gate="failed")
    record = lineage(
        training,
        training_job="t",
        model_artifact="s3://b/m",
        fingerprint="f",
        dag_run_id="r",
        created_at="now",
    )
    long = messages.training_finished(training, many, record)
    assert_within_limits(long)
    assert long.body.endswith(f"the whole: {training.evidence_uri}comparison.json")
    assert f"the whole: {training.evidence_uri}comparison.json" in slack_text(long)
    assert "|Pipeline>" in slack_text(long)


def test_a_note_keeps_every_limit(training: TrainingConf) -> None:
    long = messages.run_failed(replace(FAILURE, cause="\n".join(["x" * 2900] * 200)), training.origin)
    noted = messages.with_note(long, messages.unknown_channel("frod"))
    assert_within_limits(noted)
    assert "the channel 'frod'" in noted.body
    assert "the channel 'frod'" in slack_text(noted)


def test_an_approval_that_was_overtaken_says_by_what(deployment: DeploymentConf) -> None:
    message = messages.approval_overtaken(
        deployment, "Approved in the model registry by ann", "1.4.0+retrain.0 was decided on later"
    )
    assert message.subject == "phishing-url 1.3.0+retrain.0: approved, NOT deployed"
    for text in (message.body, slack_text(message)):
        assert "Approved in the model registry by ann" in text
        assert "1.4.0+retrain.0 was decided on later" in text
