"""Events against the declared mapping, and against a small Airflow in memory."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_api import RunCache
from event_shapes import is_event, parse
from events import RULES, Data, Ignored, Order, decide
from handler import EventNotTakenError, LambdaConfig, respond
from mlops.base.strict_json import encode
from mlops.contracts.runs import (
    DEPLOYMENT_DAG,
    MONITORING_DAG,
    NOTICE_DAG,
    REST_PATH_LIMIT,
    RETRAINING_DAG,
    ApprovalConf,
    MonitoringConf,
    NoticeConf,
    RetrainingConf,
    parse_conf,
)

from .test_handler import CONFIG, Clock, FakeMwaa, airflow_error, aws_error

DAGS = frozenset({"model_training", "model_deployment", RETRAINING_DAG, MONITORING_DAG, NOTICE_DAG})
ALL = LambdaConfig(airflow_environment="ml-ops-test", allowed_dags=DAGS, airflow_url="")


def event(source: str, detail_type: str, detail: object, **more: Any) -> dict[str, Any]:
    """As EventBridge gives it to a target."""
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": detail_type,
        "source": source,
        "account": "111122223333",
        "time": "2026-03-01T12:30:00Z",
        "region": "eu-west-1",
        "resources": [],
        "detail": detail,
        **more,
    }


def alarm(name: str = "ml-ops-drift-web-safety--phishing-url", state: str = "ALARM", **more: Any) -> Any:
    value = {
        "value": state,
        "reason": "Threshold Crossed: 0.4 > 0.2",
        "timestamp": "2026-03-01T12:30:00.000+0000",
    }
    detail = {"alarmName": name, "state": value, "previousState": {"value": "OK"}, "configuration": {}}
    return event("aws.cloudwatch", "CloudWatch Alarm State Change", detail, **more)


def stored(key: str = "data/web-safety/phishing-url/train/part-1.csv", **more: Any) -> Any:
    detail = {
        "version": "0",
        "bucket": {"name": "ml-ops-test"},
        "object": {
            "key": key,
            "size": 5,
            "etag": "b1946ac92492d2347c6235b4d2611184",
            "sequencer": "617f08299329d189",
        },
        "request-id": "N4N7GDK58NMKJ12R",
        "requester": "111122223333",
        "reason": "PutObject",
    }
    return event("aws.s3", "Object Created", detail, **more)


def job(
    name: str = "train--web-safety--phishing-url--1-3-0--r0-0a1b2c3d", status: str = "Failed", **more: Any
) -> Any:
    detail = {
        "TrainingJobName": name,
        "TrainingJobStatus": status,
        "SecondaryStatus": status,
        "Tags": {},
        **more,
    }
    return event("aws.sagemaker", "SageMaker Training Job State Change", detail)


def endpoint(
    status: str = "FAILED", kind: str = "", name: str = "web-safety--phishing-url", **more: Any
) -> Any:
    detail = {"EndpointName": name, "EndpointStatus": status, "EndpointConfigName": "c", "Tags": {}, **more}
    return event("aws.sagemaker", f"SageMaker Endpoint {kind}State Change", detail)


def package(
    status: str = "Approved", group: str | None = "web-safety--phishing-url", number: int = 2, **more: Any
) -> Any:
    """As https://docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html shows it."""
    arn = f"arn:aws:sagemaker:eu-west-1:111122223333:model-package/{group or 'marketplace'}/{number}"
    detail = {
        "ModelPackageVersion": number,
        "ModelPackageArn": arn,
        "ModelPackageStatus": "Completed",
        "ModelApprovalStatus": status,
        **({"ModelPackageGroupName": group} if group else {}),
    }
    return event("aws.sagemaker", "SageMaker Model Package State Change", detail, resources=[arn], **more)


def schedule(what: str = "monitoring", **more: Any) -> dict[str, Any]:
    return {
        "event": what,
        "project": "web-safety",
        "model": "phishing-url",
        "time": "2026-03-01T12:30:00Z",
        **more,
    }


def ordered(document: Mapping[str, Any], data_window: int = 3600) -> Order:
    assert is_event(document)
    orders = decide(parse(document), Data(window=data_window, owners={}))
    assert isinstance(orders, tuple), orders
    (order,) = orders
    assert len(f"/dags/{order.request.dag_id}/dagRuns/{order.request.run_id}") <= REST_PATH_LIMIT
    return order


def ignored(document: Mapping[str, Any]) -> str:
    found = decide(parse(document), Data(window=3600, owners={}))
    assert isinstance(found, Ignored), found
    return found.because


@pytest.mark.parametrize(
    ("document", "dag"),
    [
        (schedule("monitoring"), MONITORING_DAG),
        (schedule("retraining"), RETRAINING_DAG),
        (alarm(), RETRAINING_DAG),
        (stored(), RETRAINING_DAG),
        (job(), NOTICE_DAG),
        (job(status="Stopped"), NOTICE_DAG),
        (endpoint("FAILED"), NOTICE_DAG),
        (endpoint("ROLLING_BACK", "Deployment "), NOTICE_DAG),
        (endpoint("UpdateRollbackFailed"), NOTICE_DAG),
        (package(), DEPLOYMENT_DAG),
    ],
)
def test_an_event_starts_its_dag_with_a_conf_of_that_dag(document: dict[str, Any], dag: str) -> None:
    order = ordered(document)
    assert order.request.dag_id == dag
    conf = parse_conf(dag, order.request.conf)
    assert (conf.project, conf.model) == ("web-safety", "phishing-url")
    assert isinstance(conf, RetrainingConf | MonitoringConf | NoticeConf | ApprovalConf)
    assert conf.occurrence.time == "2026-03-01T12:30:00Z"
    assert conf.occurrence.summary
    assert "\n" not in conf.occurrence.summary


def test_what_travels_with_a_run() -> None:
    assert ordered(schedule()).request.conf["window_end"] == "2026-03-01T12:30:00Z"
    assert ordered(schedule("retraining")).request.conf["reason"] == "schedule"
    drift = ordered(alarm()).request.conf
    assert (drift["reason"], drift["occurrence"]["source"]) == ("drift", "aws.cloudwatch")
    assert "Threshold Crossed" in drift["occurrence"]["summary"]
    data = ordered(stored()).request.conf
    assert data["reason"] == "data"
    assert data["occurrence"]["summary"].endswith(
        "s3://ml-ops-test/data/web-safety/phishing-url/train/part-1.csv"
    )
    failed = ordered(job(FailureReason="AlgorithmError: no column 'age', exit code: 1")).request.conf
    assert failed["cause"] == "AlgorithmError: no column 'age', exit code: 1"
    assert failed["log_url"].startswith("https://eu-west-1.console.aws.amazon.com/sagemaker/home")
    assert failed["next_step"]


@pytest.mark.parametrize(
    ("document", "because"),
    [
        (alarm(state="OK"), "decides by itself"),
        (alarm(state="INSUFFICIENT_DATA"), "decides by itself"),
        (package("Rejected"), "only an approval"),
        (package("PendingManualApproval"), "only an approval"),
        (package(group="somebody-elses"), "no model"),
        (package(group=None), "no model"),
        (alarm("ml-ops-dag-trigger-errors"), "no model"),
        (alarm("drift-web-safety--phishing-url"), "no model"),
        (alarm("ml-ops-drift-" + "p" * 20 + "--" + "m" * 10), "no model"),
        (stored("data/phishing-url/part.csv"), "no model"),
        (stored("data/penguins/train/part.csv"), "no model"),
        (stored("data/web-safety/phishing-url/"), "no model"),
        (stored("web-safety/phishing-url/1.3.0_retrain.0/lineage.json"), "no model"),
        (stored("data/Web/phishing-url/part.csv"), "no model"),
        (event("aws.s3", "Object Deleted", {}), "not known"),
        (job(status="Completed"), "waits for it"),
        (job(status="InProgress"), "waits for it"),
        (job("kmeans-1"), "no model"),
        (endpoint("IN_SERVICE"), "needs no action"),
        (endpoint("UPDATING", "Deployment "), "needs no action"),
        (endpoint(name="sample-endpoint"), "no model"),
        (event("aws.events", "Scheduled Event", {}), "by its input"),
        (event("aws.ec2", "EC2 Instance State-change Notification", {"state": "running"}), "not known"),
        (schedule("dance"), "not known"),
    ],
)
def test_everything_else_is_ignored_with_a_reason(document: dict[str, Any], because: str) -> None:
    assert because in ignored(document)


def test_tags_tell_the_model_where_the_name_does_not() -> None:
    tags = {"mlops:project": "web-safety", "mlops:model": "phishing-url"}
    assert ordered(job("made-by-hand", Tags=tags)).request.conf["model"] == "phishing-url"
    assert ordered(endpoint(name="other", Tags=tags)).request.conf["project"] == "web-safety"


def test_one_run_for_all_events_of_a_window() -> None:
    twice = {ordered(alarm()).request.run_id for _ in range(2)}
    later = ordered(alarm(id="other", time="2026-03-01T23:59:59Z")).request.run_id
    assert twice == {later}
    assert ordered(alarm(time="2026-03-02T00:00:00Z")).request.run_id not in twice
    keys = [f"data/web-safety/phishing-url/train/part-{number}.csv" for number in range(50)]
    assert len({ordered(stored(key)).request.run_id for key in keys}) == 1
    other = ordered(stored("data/web-safety/other/train/a.csv")).request.run_id
    assert other != ordered(stored()).request.run_id != ordered(alarm()).request.run_id
    both = {ordered(endpoint(kind=kind)).request.run_id for kind in ("", "Deployment ")}
    assert len(both) == 1
    assert both != {ordered(endpoint("ROLLING_BACK")).request.run_id}


def test_each_approval_is_a_run_of_its_own_however_often_it_is_told() -> None:
    one = ordered(package())
    assert one.request.conf["package_arn"].endswith("model-package/web-safety--phishing-url/2")
    assert ordered(package(id="told-again")).request.run_id == one.request.run_id
    others = [package(number=3), package(time="2026-03-01T12:31:00Z")]
    assert len({ordered(other).request.run_id for other in others} | {one.request.run_id}) == 3


def test_new_data_is_looked_at_when_its_window_is_over() -> None:
    assert ordered(stored()).run_after == "2026-03-01T13:00:00Z"
    assert ordered(stored(), data_window=10).run_after == "2026-03-01T12:30:10Z"
    assert ordered(alarm()).run_after == ""


def test_data_that_models_share_asks_each_of_them() -> None:
    mwaa = FakeMwaa(dags=set(DAGS))
    shared = {
        "data/": ["web-safety/phishing-url"],
        "data/penguins/": ["penguins/species", "penguins/body-mass"],
    }
    variables = {"TRAINING_DATA": json.dumps(shared), "DATA_WINDOW_SECONDS": "60"}
    told = LambdaConfig.read(
        variables | {"AIRFLOW_ENVIRONMENT": "ml-ops-test", "ALLOWED_DAGS": ",".join(DAGS)}
    )
    for _ in range(2):
        answer = respond(stored("data/penguins/train/a.csv"), Clock(), mwaa, told)
        assert answer["problem"] is None
    confs = [run["conf"] for run in mwaa.runs.values()]
    assert [conf["model"] for conf in confs] == ["species", "body-mass"]
    respond(stored("data/other.csv"), Clock(), mwaa, told)
    assert len(mwaa.runs) == 3
    mwaa.trouble = [None, None, aws_error("AccessDeniedException")]
    with pytest.raises(EventNotTakenError, match="body-mass"):
        respond(stored("data/penguins/train/a.csv", time="2026-03-02T00:00:00Z"), Clock(), mwaa, told)
    respond(stored("data/penguins/train/a.csv", time="2026-03-02T00:00:00Z"), Clock(), mwaa, told)
    assert len(mwaa.runs) == 5


def test_what_a_container_said_is_told_as_far_as_a_database_holds_it() -> None:
    conf = ordered(job(FailureReason="AlgorithmError: \x00\ud83d failed")).request.conf
    assert conf["cause"] == "AlgorithmError:    failed"
    event_of_alarm = alarm()
    event_of_alarm["detail"]["state"]["reason"] = "\x00 crossed"
    assert "\x00" not in ordered(event_of_alarm).request.conf["occurrence"]["summary"]


def test_a_time_in_milliseconds_is_one_too() -> None:
    assert parse(endpoint() | {"time": "1583831889050"}).time.isoformat() == "2020-03-10T09:18:09+00:00"


def broken(**changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = copy.deepcopy(alarm())
    document.update(changes)
    return document


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (broken(detail=[]), "event.detail must be an object"),
        (broken(detail={}), "has no state"),
        (broken(detail={"state": {"value": 3}}), "has no state"),
        (broken(detail={"state": {"value": "ALARM"}}), "'alarmName' must be a text"),
        (broken(time="yesterday"), "'time' is none"),
        (broken(time=5), "'time' is none"),
        (broken(time="9" * 30), "'time' is none"),
        (job() | {"time": "0001-01-01T00:00:00Z"}, "'time' is none"),
        (stored(time="9999-12-31T23:59:59Z"), "'time' is none"),
        (package(time="2099-01-01T00:00:00Z"), "'time' is none"),
        (schedule(time=(datetime.now(UTC) + timedelta(days=30)).isoformat()), "'time' is none"),
        (broken(source=None), "'source' must be a text"),
        (job(TrainingJobName="train--a--b--\x00"), "'TrainingJobName' must be a text"),
        (stored("data/a/b/train/\ud800"), "'key' must be a text"),
        (broken(id=""), "'id' must be a text"),
        (event("aws.s3", "Object Created", {"object": "x"}), "no object or no bucket"),
        (event("aws.s3", "Object Created", {"object": {}, "bucket": {}}), "'key' must be a text"),
        (schedule(project="../x"), "project is not a name"),
        (schedule(model=None), "model is not a name"),
        (schedule(project="p" * 20, model="m" * 10), "more than 29"),
        (schedule(time=""), "'time' must be a text"),
        (job(Tags={"mlops:project": "A", "mlops:model": "b"}), "project is not a name"),
    ],
)
def test_a_wrong_shape_is_refused_and_not_tried_again(
    document: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mwaa = FakeMwaa(dags=set(DAGS))
    answer = respond(document, Clock(), mwaa, ALL)
    assert answer["problem"]["kind"] == "malformed"
    line = json.loads(capsys.readouterr().out)
    assert message in line["problem"]
    assert (line["level"], line["outcome"]) == ("ERROR", "malformed")
    assert not mwaa.calls


def test_the_same_event_twice_starts_one_run() -> None:
    mwaa = FakeMwaa(dags=set(DAGS))
    first = respond(alarm(), Clock(), mwaa, ALL)
    again = respond(alarm(), Clock(), mwaa, ALL)
    other = respond(alarm(id="2", time="2026-03-01T18:00:00Z"), Clock(), mwaa, ALL)
    older = respond(alarm(id="0", time="2026-03-01T06:00:00Z"), Clock(), mwaa, ALL)
    assert [one["created"] for one in (first, again, other, older)] == [True, False, False, False]
    assert not any(one["problem"] for one in (first, again, other, older))
    assert len(mwaa.runs) == 1
    respond(alarm(state="OK"), Clock(), mwaa, ALL)  # an OK that overtakes nothing
    assert len(mwaa.runs) == 1


def test_a_thousand_new_objects_cost_airflow_two_calls() -> None:
    mwaa, memory = FakeMwaa(dags=set(DAGS)), RunCache()
    for number in range(1000):
        key = f"data/web-safety/phishing-url/train/part-{number}.csv"
        answer = respond(stored(key), Clock(), mwaa, ALL, memory=memory)
        assert answer["created"] is (number == 0)
    assert mwaa.calls == [f"GET /dags/{RETRAINING_DAG}", f"POST /dags/{RETRAINING_DAG}/dagRuns"]
    assert len(mwaa.runs) == 1
    for number in range(300):
        respond(stored(f"data/web-safety/m-{number}/train/a.csv"), Clock(), mwaa, ALL, memory=memory)
    assert len(memory.runs) == 100
    assert len(mwaa.runs) == 301


def test_an_event_airflow_does_not_take_is_an_exception_so_that_lambda_keeps_it() -> None:
    for trouble in (aws_error("ThrottlingException"), airflow_error(503), aws_error("AccessDeniedException")):
        mwaa = FakeMwaa(dags=set(DAGS), trouble=[trouble] * 200)
        clock = Clock()
        with pytest.raises(EventNotTakenError, match=RETRAINING_DAG):
            respond(alarm(), clock, mwaa, ALL, clock.sleep)
    with pytest.raises(EventNotTakenError, match="paused"):
        respond(alarm(), Clock(), FakeMwaa(dags=set(DAGS), paused={RETRAINING_DAG}), ALL)
    with pytest.raises(EventNotTakenError, match="has no DAG"):
        respond(alarm(), Clock(), FakeMwaa(dags=set()), ALL)


def test_an_event_of_a_dag_that_is_not_allowed_is_refused() -> None:
    mwaa = FakeMwaa(dags=set(DAGS))
    assert respond(alarm(), Clock(), mwaa, CONFIG)["problem"]["kind"] == "dag_not_allowed"
    assert not mwaa.calls


@pytest.mark.parametrize("document", [package(), alarm(), stored(), job(), endpoint(), schedule()])
def test_an_alias_takes_no_event(document: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """A role that may call an alias could say that anything has happened, such as an approval."""
    mwaa = FakeMwaa(dags=set(DAGS))
    for alias in DAGS:
        surroundings = ALL.called_as(f"arn:aws:lambda:eu-west-1:111122223333:function:f:{alias}")
        problem = respond(document, Clock(), mwaa, surroundings)["problem"]
        assert (problem["kind"], problem["retryable"]) == ("malformed", False)
        assert "through an alias" in problem["message"]
        assert problem["next_step"]
        assert json.loads(capsys.readouterr().out)["outcome"] == "malformed"
    assert not mwaa.calls
    respond(document, Clock(), mwaa, ALL.called_as("arn:aws:lambda:eu-west-1:111122223333:function:f"))
    assert mwaa.runs


def test_an_approval_is_taken_of_an_event_alone() -> None:
    request = ordered(package()).request
    mwaa = FakeMwaa(dags=set(DAGS))
    document: dict[str, Any] = json.loads(json.dumps(encode(request)))
    for alias in ("", f":{DEPLOYMENT_DAG}"):
        surroundings = ALL.called_as(f"arn:aws:lambda:eu-west-1:111122223333:function:f{alias}")
        problem = respond(document, Clock(), mwaa, surroundings)["problem"]
        assert problem["kind"] == "malformed"
        assert "is an approval" in problem["message"]
    assert not mwaa.calls


@pytest.mark.parametrize(
    ("conf", "at_work"),
    [
        ({"project": "web-safety", "model": "phishing-url"}, True),
        ({"conf_uri": "s3://b/web-safety/phishing-url/1.3.0_retrain.0/conf.json", "conf_sha256": "0"}, True),
        ({"project": "web-safety", "model": "other"}, False),
        ({}, False),
    ],
)
def test_a_failure_is_told_by_the_run_that_was_at_work(
    conf: dict[str, str], at_work: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    mwaa = FakeMwaa(dags=set(DAGS))
    mwaa.runs["model_training", "r1"] = {"dag_run_id": "r1", "state": "running", "conf": conf}
    respond(job(), Clock(), mwaa, ALL)
    line = json.loads(capsys.readouterr().out)
    assert ((NOTICE_DAG, line["run_id"]) in mwaa.runs) is not at_work
    if at_work:
        assert line["ignored"] == "run r1 of model_training reports it itself"


def test_a_run_that_ended_before_the_failure_tells_nothing_of_it() -> None:
    conf = {"project": "web-safety", "model": "phishing-url"}
    for ended, told in (("2026-03-01T12:29:00+00:00", False), ("2026-03-01T12:00:00+00:00", True)):
        mwaa = FakeMwaa(dags=set(DAGS))
        run = {"dag_run_id": "r1", "state": "failed", "conf": conf, "end_date": ended}
        mwaa.runs["model_training", "r1"] = run
        assert bool(respond(job(), Clock(), mwaa, ALL)["run_id"]) is told


def test_one_log_line_says_what_came_of_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    mwaa = FakeMwaa(dags=set(DAGS))
    respond(alarm(), Clock(), mwaa, ALL)
    started = json.loads(capsys.readouterr().out)
    assert started["source"] == "aws.cloudwatch"
    assert started["event_id"] == "17793124-05d4-b198-2fde-7ededc63b103"
    assert (started["dag_id"], started["created"], started["outcome"]) == (RETRAINING_DAG, True, "queued")
    respond(job("kmeans-1"), Clock(), mwaa, ALL)
    assert json.loads(capsys.readouterr().out)["ignored"] == "it is about no model of the platform"


def test_the_rules_name_only_what_may_be_started() -> None:
    for rule in RULES:
        assert bool(rule.dag_id) == bool(rule.confs) == (not rule.because), rule
        assert rule.dag_id in DAGS | {""}
    first = RULES[0]
    assert replace(first, when="x") != first
