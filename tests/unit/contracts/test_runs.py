from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.base.errors import ContractError
from mlops.base.strict_json import encode
from mlops.contracts import runs
from mlops.contracts.runs import (
    CONFS,
    DEPLOYMENT_DAG,
    MONITORING_DAG,
    NOTICE_DAG,
    REST_PATH_LIMIT,
    RETRAINING_DAG,
    RUN_ID,
    RUN_ID_LIMIT,
    TRAINING_DAG,
    conf_pointer,
    is_conf_pointer,
    make_run_id,
    parse_conf,
    parse_request,
)


def training_conf() -> dict[str, Any]:
    conf: dict[str, Any] = encode(
        runs.TrainingConf(
            schema_version=1,
            project="web-safety",
            model="phishing-url",
            model_version="1.0.0+retrain.0",
            image_version="1.0.0",
            image_uri="registry/web-safety/phishing-url@sha256:" + "0" * 64,
            evidence_uri="s3://bucket/web-safety/phishing-url/1.0.0_retrain.0/",
            training=runs.Training(
                channels={"train": "s3://bucket/data/"},
                instance_type="ml.m5.large",
                instance_count=1,
                volume_gb=10,
                max_runtime_seconds=600,
                spot=False,
                max_wait_seconds=600,
            ),
            evaluation=runs.Evaluation(
                data="s3://bucket/test/",
                instance_type="ml.m5.large",
                volume_gb=10,
                max_runtime_seconds=600,
                metrics=(runs.Metric(name="f1", goal="maximize", min=0.8),),
            ),
        )
    )
    return conf


def request(**changes: Any) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "action": "trigger",
        "dag_id": TRAINING_DAG,
        "run_id": "phishing-url.0123456789.1",
        "conf": training_conf(),
        **changes,
    }


def test_a_conf_reads_back_as_it_was_written() -> None:
    assert encode(parse_conf(TRAINING_DAG, training_conf())) == training_conf()


def test_a_request_of_another_dag_passes_its_conf_through() -> None:
    assert parse_request(request(dag_id="their.dag", conf={"any": 1})).conf == {"any": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2}, "schema version 2"),
        ({"action": "destroy"}, "event.action must be one of trigger, status"),
        ({"dag_id": "a/b"}, "event.dag_id is not valid"),
        ({"dag_id": "a" * 51}, "event.dag_id is not valid"),
        ({"run_id": "../x"}, "event.run_id is not valid"),
        ({"run_id": "a" * 34}, "event.run_id is not valid"),
        ({"conf": {**training_conf(), "modle": "x"}}, "conf has an unknown key 'modle'"),
        ({"conf": {**training_conf(), "schema_version": 9}}, "conf has schema version 9"),
        ({"conf": {}}, "conf lacks the key"),
        ({"conf": []}, "event.conf must be an object"),
        ({"extra": 1}, "event has an unknown key 'extra'"),
    ],
)
def test_a_malformed_request_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        parse_request(request(**changes))


@pytest.mark.parametrize("event", [None, "", [], 7])
def test_what_is_no_object_is_refused(event: object) -> None:
    with pytest.raises(ContractError, match="event must be an object"):
        parse_request(event)


def test_a_pointer_passes_in_place_of_a_conf() -> None:
    pointer = conf_pointer("s3://bucket/conf.json", "0" * 64)
    assert is_conf_pointer(pointer)
    assert not is_conf_pointer(training_conf())
    assert parse_request(request(conf=pointer)).conf == pointer


@given(st.text(), st.text(), st.integers(min_value=1, max_value=999))
def test_a_run_id_is_always_valid_and_always_the_same(label: str, identity: str, attempt: int) -> None:
    first = make_run_id(label, identity, attempt)
    assert RUN_ID.fullmatch(first)
    assert first == make_run_id(label, identity, attempt)


def test_run_ids_differ_where_the_work_does() -> None:
    ids = {make_run_id("m", "a"), make_run_id("m", "b"), make_run_id("m", "a", 2), make_run_id("n", "a")}
    assert len(ids) == 4


@pytest.mark.parametrize("dag", CONFS)
def test_the_longest_path_to_airflow_fits_mwaa(dag: str) -> None:
    assert len(f"/dags/{dag}/dagRuns/{'x' * RUN_ID_LIMIT}") <= REST_PATH_LIMIT


def test_every_dag_has_a_conf() -> None:
    assert {TRAINING_DAG, DEPLOYMENT_DAG, RETRAINING_DAG, MONITORING_DAG, NOTICE_DAG} == set(CONFS)


@pytest.mark.parametrize(
    "module",
    ["mlops.contracts.runs", "mlops.base.errors", "mlops.base.strict_json", "mlops.contracts.evidence"],
)
def test_the_contract_needs_the_standard_library_only(module: str) -> None:
    code = (
        f"import sys, {module}\n"
        "others = {name.split('.')[0] for name in sys.modules} - set(sys.stdlib_module_names) - {'mlops', '__main__'}\n"
        "print(sorted(name for name in others if not name.startswith('_')))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0]={sys.path!r}\n{code}"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "[]"


def test_a_request_is_another_one_when_training_or_evaluation_change() -> None:
    conf = parse_conf(TRAINING_DAG, training_conf())
    assert isinstance(conf, runs.TrainingConf)
    first = runs.request_fingerprint(conf.training, conf.evaluation)
    deeper = dataclasses.replace(conf.training, hyper_parameters={"depth": "4"})
    stricter = dataclasses.replace(conf.evaluation, metrics=())
    assert first == runs.request_fingerprint(conf.training, conf.evaluation)
    assert (
        len(
            {
                first,
                *(
                    runs.request_fingerprint(*one)
                    for one in ((deeper, conf.evaluation), (conf.training, stricter))
                ),
            }
        )
        == 3
    )
