"""The Lambda against a small Airflow in memory that can be told to misbehave."""

from __future__ import annotations

import copy
import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, NoCredentialsError, ReadTimeoutError

from handler import LambdaConfig, respond
from mlops.base.strict_json import decode
from mlops.contracts.runs import CONF_LIMIT, RunAnswer

CONFIG = LambdaConfig(
    airflow_environment="ml-ops-test",
    allowed_dags=frozenset({"model_training", "report", "r" * 50}),
    airflow_url="https://airflow.example",
)


def aws_error(code: str, message: str = "no") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "InvokeRestApi")


def airflow_error(status: int, detail: object = "no") -> ClientError:
    side = "Server" if status >= 500 else "Client"
    response: Any = {
        "Error": {"Code": f"RestApi{side}Exception", "Message": ""},
        "RestApiStatusCode": status,
        "RestApiResponse": {"detail": detail},
    }
    return ClientError(response, "InvokeRestApi")


@dataclass
class FakeMwaa:
    """MWAA with one DAG a name. `trouble` is raised by the next calls, one each; None lets a call through.

    With `lose_answers`, a POST that has trouble was carried out all the same.
    """

    paused: set[str] = field(default_factory=set)
    dags: set[str] = field(default_factory=lambda: {"model_training", "report", "r" * 50})
    runs: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    tasks: list[dict[str, Any]] = field(default_factory=list)
    trouble: list[Exception | None] = field(default_factory=list)
    lose_answers: bool = False
    reply: Callable[[object], object] = copy.copy
    calls: list[str] = field(default_factory=list)

    def invoke_rest_api(self, **request: Any) -> Mapping[str, Any]:
        method, path = request["Method"], request["Path"]
        assert len(path) <= 64
        assert request["Name"] == "ml-ops-test"
        self.calls.append(f"{method} {path}")
        trouble = self.trouble.pop(0) if self.trouble else None
        if trouble is not None:
            if self.lose_answers:
                self._serve(method, path, request)
            raise trouble
        return {"RestApiStatusCode": 200, "RestApiResponse": self.reply(self._serve(method, path, request))}

    def _serve(self, method: str, path: str, request: Mapping[str, Any]) -> object:
        if path == "/dags/~/dagRuns/~/taskInstances/list":
            return {"task_instances": self.tasks, "total_entries": len(self.tasks)}
        match = re.fullmatch(r"/dags/([^/]+)(/dagRuns)?(?:/([^/]+))?", path)
        assert match, path
        dag, runs, run = match.groups()
        if dag not in self.dags:
            raise airflow_error(404, f"The Dag with ID: `{dag}` was not found")
        if not runs:
            return {"dag_id": dag, "is_paused": dag in self.paused}
        if method == "POST":
            return self._create(dag, request["Body"])
        if run is None:
            return {"dag_runs": self._list(dag, request["QueryParameters"])}
        if (dag, run) not in self.runs:
            raise airflow_error(404, "The DagRun was not found")
        return self.runs[dag, run]

    def _list(self, dag: str, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [
            one
            for (of, name), one in self.runs.items()
            if of == dag
            and query.get("run_id_pattern", "") in name
            and one["state"] in query.get("state", [one["state"]])
            and query.get("end_date_gte", "") <= one.get("end_date", "")
        ]

    def _create(self, dag: str, body: Mapping[str, Any]) -> object:
        assert body["logical_date"] is None
        key = (dag, body["dag_run_id"])
        if key in self.runs:
            raise airflow_error(409, {"reason": "Unique constraint violation"})
        self.runs[key] = {
            "dag_run_id": key[1],
            "state": "queued",
            "conf": json.loads(json.dumps(body["conf"])),
        }
        return self.runs[key]


@dataclass
class Clock:
    """The Lambda's context, and a sleep that spends its time."""

    milliseconds: int = 60_000
    aws_request_id: str = "00000000-0000-0000-0000-000000000001"
    invoked_function_arn: str = "arn:aws:lambda:eu-west-1:123456789012:function:ml-ops-dag-trigger"
    slept: list[float] = field(default_factory=list)

    def get_remaining_time_in_millis(self) -> int:
        return self.milliseconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.milliseconds -= round(seconds * 1000)


def event(action: str = "trigger", dag: str = "report", **changes: Any) -> dict[str, Any]:
    conf = {"week": 3} if action == "trigger" else {}
    return {
        "schema_version": 1,
        "action": action,
        "dag_id": dag,
        "run_id": "weekly.1",
        "conf": conf,
        **changes,
    }


def ask(mwaa: FakeMwaa, what: object, clock: Clock | None = None) -> RunAnswer:
    clock = clock or Clock()
    answer = respond(what, clock, mwaa, CONFIG, clock.sleep)
    return decode(RunAnswer, json.loads(json.dumps(answer)), "answer")


def problem(answer: RunAnswer) -> str:
    assert answer.problem is not None
    assert answer.problem.message
    assert answer.problem.next_step
    return answer.problem.kind


@pytest.mark.parametrize(
    ("suffix", "allowed"),
    [
        ("", {"a", "b"}),
        (":$LATEST", {"a", "b"}),
        (":a", {"a"}),
        # an alias opens nothing that the function's own settings do not
        (":c", set()),
    ],
)
def test_an_alias_starts_the_dag_of_its_name_alone(suffix: str, allowed: set[str]) -> None:
    function = "arn:aws:lambda:eu-west-1:123456789012:function:ml-ops-dag-trigger"
    surroundings = LambdaConfig.read({"ALLOWED_DAGS": "a,b"}).called_as(function + suffix)

    assert {dag for dag in ("a", "b", "c") if surroundings.allows(dag)} == allowed


def test_a_run_is_started_with_its_conf_unchanged() -> None:
    mwaa = FakeMwaa()
    answer = ask(mwaa, event(conf={"a": [1, {"b": None}]}))
    assert (answer.problem, answer.created, answer.state) == (None, True, "queued")
    assert answer.run_url == "https://airflow.example/dags/report/runs/weekly.1"
    assert mwaa.runs["report", "weekly.1"]["conf"] == {"a": [1, {"b": None}]}


def test_the_same_request_again_finds_the_run_and_its_state() -> None:
    mwaa = FakeMwaa()
    ask(mwaa, event())
    mwaa.runs["report", "weekly.1"]["state"] = "running"
    answer = ask(mwaa, event())
    assert (answer.problem, answer.created, answer.state) == (None, False, "running")


def test_the_same_run_id_with_another_conf_is_a_conflict() -> None:
    mwaa = FakeMwaa()
    ask(mwaa, event())
    assert problem(ask(mwaa, event(conf={"week": 4}))) == "conflict"
    assert mwaa.runs["report", "weekly.1"]["conf"] == {"week": 3}


def test_a_409_without_such_a_run_is_a_conflict_with_airflows_words() -> None:
    mwaa = FakeMwaa(trouble=[None, airflow_error(409, "logical date is taken")])
    answer = ask(mwaa, event())
    assert problem(answer) == "conflict"
    assert answer.problem is not None
    assert "logical date is taken" in answer.problem.message


def test_a_paused_dag_gets_no_run() -> None:
    mwaa = FakeMwaa(paused={"report"})
    assert problem(ask(mwaa, event())) == "dag_paused"
    assert not mwaa.runs


def test_a_finished_run_is_found_though_its_dag_is_paused() -> None:
    mwaa = FakeMwaa()
    ask(mwaa, event())
    mwaa.runs["report", "weekly.1"]["state"] = "success"
    mwaa.paused.add("report")
    assert ask(mwaa, event()).state == "success"
    assert problem(ask(mwaa, event(conf={"week": 4}))) == "dag_paused"


def test_a_queued_run_of_a_paused_dag_says_that_it_will_not_start() -> None:
    mwaa = FakeMwaa()
    ask(mwaa, event())
    assert ask(mwaa, event("status")).state == "queued"
    mwaa.paused.add("report")
    assert problem(ask(mwaa, event("status"))) == "dag_paused"


def test_status_lists_tasks_in_the_order_they_started() -> None:
    mwaa = FakeMwaa(
        runs={("report", "weekly.1"): {"dag_run_id": "weekly.1", "state": "running", "conf": {}}},
        tasks=[
            {"task_id": "send", "state": None, "try_number": 0, "start_date": None, "duration": None},
            {
                "task_id": "draw",
                "map_index": 1,
                "state": "running",
                "try_number": 2,
                "start_date": "2026-01-02T00:00:05Z",
                "duration": 1.23456,
            },
            {
                "task_id": "read",
                "map_index": -1,
                "state": "success",
                "try_number": 1,
                "start_date": "2026-01-02T00:00:01Z",
                "duration": 4,
            },
        ],
    )
    answer = ask(mwaa, event("status"))
    seen = [(task.task_id, task.state, task.try_number, task.seconds) for task in answer.tasks]
    assert seen == [("read", "success", 1, 4.0), ("draw[1]", "running", 2, 1.235), ("send", "", 0, None)]


def test_status_of_an_unknown_run() -> None:
    assert problem(ask(FakeMwaa(), event("status"))) == "run_not_found"


def test_a_dag_that_airflow_does_not_know() -> None:
    answer = ask(FakeMwaa(dags=set()), event())
    assert problem(answer) == "dag_not_found"


def test_the_longest_dag_id_fits_into_mwaas_paths() -> None:
    mwaa = FakeMwaa()
    longest = "r" * 50
    mwaa.runs[longest, "weekly.10"] = {"dag_run_id": "weekly.10", "state": "failed", "conf": {}}
    assert ask(mwaa, event(dag=longest)).created
    again = ask(mwaa, event(dag=longest))
    assert (again.problem, again.created) == (None, False)
    assert problem(ask(mwaa, event("status", dag=longest, run_id="weekly"))) == "run_not_found"


def test_a_dag_outside_the_list_is_refused_before_airflow_is_asked() -> None:
    mwaa = FakeMwaa(dags={"secret"})
    assert problem(ask(mwaa, event(dag="secret"))) == "dag_not_allowed"
    assert problem(ask(mwaa, event("status", dag="secret"))) == "dag_not_allowed"
    assert not mwaa.calls


@pytest.mark.parametrize(
    ("variables", "allowed"),
    [
        ({"ALLOWED_DAGS": "*"}, True),
        ({"ALLOWED_DAGS": " other , report "}, True),
        ({"ALLOWED_DAGS": "reports"}, False),
        ({"ALLOWED_DAGS": " , "}, False),
        ({}, False),
    ],
)
def test_the_list_of_allowed_dags(variables: dict[str, str], allowed: bool) -> None:
    assert LambdaConfig.read(variables).allows("report") is allowed


@pytest.mark.parametrize(
    "broken",
    [
        None,
        "trigger",
        [],
        {},
        event(schema_version=2),
        event(action="delete"),
        event(dag="../connections"),
        event(dag=".."),
        event(run_id=".."),
        event(run_id="~"),
        event(run_id="x" * 34),
        event(extra=1),
        event(conf=[]),
        event(conf={"rate": float("nan")}),
        event(dag="model_training", conf={"schema_version": 1, "project": "p"}),
    ],
    ids=str,
)
def test_a_malformed_event_is_answered_and_never_reaches_airflow(broken: object) -> None:
    mwaa = FakeMwaa(dags={"..", "report"})
    assert problem(ask(mwaa, broken)) == "malformed"
    assert not mwaa.calls


def test_a_conf_that_is_nested_without_end_is_malformed() -> None:
    conf: dict[str, Any] = {}
    for _ in range(sys.getrecursionlimit()):
        conf = {"a": conf}
    mwaa = FakeMwaa()
    assert problem(ask(mwaa, event(conf=conf))) == "malformed"
    assert not mwaa.calls


def test_a_conf_that_is_too_large_is_refused_and_one_that_just_fits_is_not() -> None:
    room = CONF_LIMIT - len('{"a":""}')
    assert ask(FakeMwaa(), event(conf={"a": "x" * room})).created
    mwaa = FakeMwaa()
    assert problem(ask(mwaa, event(conf={"a": "x" * (room + 1)}))) == "conf_too_large"
    assert not mwaa.calls


def test_without_an_environment_the_answer_names_the_variable() -> None:
    nowhere = LambdaConfig(airflow_environment="", allowed_dags=frozenset("*"), airflow_url="")
    clock = Clock()
    answer = decode(
        RunAnswer, respond(event(), clock, FakeMwaa(), nowhere, clock.sleep) | {"tasks": []}, "answer"
    )
    assert problem(answer) == "environment_missing"


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (aws_error("ResourceNotFoundException"), "environment_missing"),
        (aws_error("AccessDeniedException"), "access_denied"),
        (aws_error("ExpiredTokenException"), "access_denied"),
        (NoCredentialsError(), "access_denied"),
        (airflow_error(403), "access_denied"),
        (airflow_error(401), "access_denied"),
        (aws_error("ValidationException"), "rejected"),
        (airflow_error(400, "import errors"), "rejected"),
        (airflow_error(422, [{"msg": "conf"}]), "rejected"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_final_trouble_is_told_at_once(trouble: Exception, kind: str) -> None:
    clock = Clock()
    answer = ask(FakeMwaa(trouble=[trouble]), event(), clock)
    assert problem(answer) == kind
    assert answer.problem is not None
    assert not answer.problem.retryable
    assert not clock.slept


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (aws_error("ThrottlingException"), "throttled"),
        (airflow_error(429), "throttled"),
        (airflow_error(503), "airflow_unavailable"),
        (aws_error("InternalServerException"), "airflow_unavailable"),
        (ConnectTimeoutError(endpoint_url="https://env.airflow"), "airflow_unavailable"),
        (ReadTimeoutError(endpoint_url="https://env.airflow"), "airflow_unavailable"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_passing_trouble_is_tried_again_until_it_passes_or_time_runs_out(
    trouble: Exception, kind: str
) -> None:
    patient = Clock()
    assert ask(FakeMwaa(trouble=[trouble] * 3), event(), patient).created
    assert len(patient.slept) == 3

    hurried = Clock(milliseconds=30_000)
    answer = ask(FakeMwaa(trouble=[trouble] * 1000), event(), hurried)
    assert problem(answer) == kind
    assert answer.problem is not None
    assert answer.problem.retryable
    # Enough is left for the call that was under way, and for the answer.
    assert hurried.milliseconds >= 16_000


def test_pauses_grow_and_differ() -> None:
    clock = Clock(milliseconds=300_000)
    ask(FakeMwaa(trouble=[aws_error("ThrottlingException")] * 9), event(), clock)
    assert max(clock.slept) <= 4.0
    assert sum(clock.slept[-4:]) > sum(clock.slept[:2])
    assert len(set(clock.slept)) == 9


@pytest.mark.parametrize(
    "trouble", [airflow_error(500), airflow_error(502), ReadTimeoutError(endpoint_url="x")]
)
def test_a_post_whose_answer_is_lost_is_looked_up_and_not_repeated(trouble: Exception) -> None:
    mwaa = FakeMwaa(trouble=[None, trouble], lose_answers=True)
    answer = ask(mwaa, event())
    assert (answer.problem, answer.created, answer.state) == (None, True, "queued")
    assert mwaa.calls[1:] == ["POST /dags/report/dagRuns", "GET /dags/report/dagRuns/weekly.1"]


def test_a_post_that_failed_before_it_did_anything_is_repeated() -> None:
    mwaa = FakeMwaa(trouble=[None, airflow_error(503)])
    assert ask(mwaa, event()).created
    assert [call.split()[0] for call in mwaa.calls] == ["GET", "POST", "GET", "POST"]


def test_a_throttled_post_is_repeated_without_a_look() -> None:
    mwaa = FakeMwaa(trouble=[None, aws_error("ThrottlingException")])
    assert ask(mwaa, event()).created
    assert [call.split()[0] for call in mwaa.calls] == ["GET", "POST", "POST"]


@pytest.mark.parametrize(
    "body", ["<html>log in</html>", None, [], {"state": "shiny", "dag_run_id": "weekly.1"}]
)
def test_an_unexpected_body_is_airflow_unavailable(body: object) -> None:
    run = {"dag_run_id": "weekly.1", "state": "queued", "conf": {"week": 3}}
    mwaa = FakeMwaa(runs={("report", "weekly.1"): run}, reply=lambda _: body)
    answer = ask(mwaa, event("status"), Clock(milliseconds=17_000))
    assert problem(answer) == "airflow_unavailable"
    answer = ask(mwaa, event(), Clock(milliseconds=17_000))
    assert problem(answer) == "airflow_unavailable"


def test_one_json_log_line_an_event_without_the_conf(capsys: pytest.CaptureFixture[str]) -> None:
    ask(FakeMwaa(), event(conf={"password": "open sesame"}))
    ask(FakeMwaa(dags=set()), event())
    ask(FakeMwaa(), "open sesame")
    output = capsys.readouterr().out
    first, second, third = (json.loads(line) for line in output.splitlines())
    assert (first["level"], first["outcome"], first["created"], first["airflow_calls"]) == (
        "INFO",
        "queued",
        True,
        2,
    )
    assert first["request_id"] == Clock.aws_request_id
    assert (second["level"], second["outcome"], second["airflow_status"]) == ("ERROR", "dag_not_found", 404)
    assert third["outcome"] == "malformed"
    assert "sesame" not in output
