"""Airflow's REST API v2 behind MWAA's InvokeRestApi.

https://docs.aws.amazon.com/mwaa/latest/API/API_InvokeRestApi.html

Airflow's 4xx and 5xx both arrive as HTTP 400 with the status inside, so the SDK never retries them: this
module does, with jitter, for as long as the Lambda's own time-out leaves room for one more call. Each wait is
logged, which shows what MWAA's limit of about 10 calls a second costs.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast, get_args

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from mlops.contracts.runs import REST_PATH_LIMIT, ErrorKind, RunProblem, RunState, TaskState, canonical

CONNECT_SECONDS = 3
READ_SECONDS = 12  # MWAA itself gives up after 10
_ANSWER_SECONDS = 1.0
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 4.0
_PAGE = 100
# A DAG is rarely paused, and each look is one of the few calls MWAA takes; who starts many runs looks once.
_SEEN_SECONDS = 10.0

_THROTTLED = frozenset({"ThrottlingException", "Throttling", "TooManyRequestsException"})
_DENIED = frozenset(
    {
        "AccessDeniedException",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
    }
)


class RestApiClient(Protocol):
    """The one method of boto3's `mwaa` client that is used."""

    def invoke_rest_api(self, **request: Any) -> Mapping[str, Any]: ...


class AirflowError(Exception):
    """A call that did not work; `reached` says whether Airflow may have carried it out all the same."""

    def __init__(self, problem: RunProblem, *, reached: bool = False) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.reached = reached


@dataclass(frozen=True)
class DagRun:
    """What we need of a run."""

    run_id: str
    state: RunState
    conf: Mapping[str, Any]


@dataclass
class RunCache:
    """What one container of the Lambda knows from earlier invocations, so that it need not ask again."""

    switched_on: dict[str, float] = field(default_factory=dict)
    """When a DAG was last seen not to be paused."""
    runs: dict[tuple[str, str], DagRun] = field(default_factory=dict)
    """The last runs that were started or found, for those who only want them to exist."""

    def keep(self, dag_id: str, run: DagRun) -> None:
        """Remember a run, and forget the oldest beyond 100."""
        self.runs[dag_id, run.run_id] = run
        while len(self.runs) > _PAGE:
            del self.runs[next(iter(self.runs))]


@dataclass(frozen=True, kw_only=True)
class Wait:
    """One pause before another attempt, for the log."""

    attempt: int
    seconds: float
    kind: ErrorKind
    path: str


class AirflowApi:
    """The calls of one invocation.

    Args:
        client: boto3's `mwaa` client, without retries of its own.
        environment: The MWAA environment's name.
        remaining: Seconds until the Lambda is cut off.
        sleep: Waits for that many seconds.
        on_wait: Gets each wait.
        memory: What is kept between invocations.
    """

    def __init__(  # pylint: disable=too-many-arguments,too-many-positional-arguments
        self,
        client: RestApiClient,
        environment: str,
        remaining: Callable[[], float],
        sleep: Callable[[float], None] = time.sleep,
        on_wait: Callable[[Wait], None] | None = None,
        memory: RunCache | None = None,
    ) -> None:
        self._client = client
        self._environment = environment
        self._remaining = remaining
        self._sleep = sleep
        self._on_wait = on_wait
        self._memory = memory or RunCache()
        self.calls = 0
        self.waited = 0.0

    def is_paused(self, dag_id: str) -> bool:
        """Whether Airflow would accept a run of this DAG and never start it.

        Raises:
            AirflowError: also when there is no such DAG.
        """
        seen = self._memory.switched_on.get(dag_id)
        if seen is not None and time.monotonic() - seen < _SEEN_SECONDS:
            return False
        try:
            paused = self._call("GET", f"/dags/{dag_id}").get("is_paused")
        except AirflowError as error:
            raise _no_such_dag(error, dag_id) from error
        if not isinstance(paused, bool):
            raise AirflowError(_unexpected("a DAG without is_paused"))
        if not paused:
            self._memory.switched_on[dag_id] = time.monotonic()
        return paused

    def start(
        self,
        dag_id: str,
        run_id: str,
        conf: Mapping[str, Any],
        run_after: str = "",
        *,
        any_conf: bool = False,
    ) -> tuple[DagRun, bool]:
        """Start the run, or find it; the second value says whether this call started it.

        After a 5xx or a time-out the run may exist: it is looked up before it is asked for again.

        Args:
            dag_id: Which DAG.
            run_id: Decides which run it is.
            conf: What it is to do.
            run_after: When it is to begin, ISO 8601; empty for at once.
            any_conf: Whether a run of this id is the one meant whatever its conf says.

        Raises:
            AirflowError: `conflict` when the run id exists with another conf.
        """
        # Airflow 3 wants the key; null, because a date would be one more thing that can collide.
        body: dict[str, Any] = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        if run_after:
            body["run_after"] = run_after
        accept: Callable[[DagRun], DagRun] = (
            (lambda run: run) if any_conf else (lambda run: _check_same(run, conf))
        )
        maybe_ours = False
        attempt = 0
        while True:
            try:
                return _dag_run(self._once("POST", f"/dags/{dag_id}/dagRuns", body)), True
            except AirflowError as error:
                if error.problem.status == 409:
                    return accept(self._existing(dag_id, run_id, error)), maybe_ours
                attempt += 1
                self._pause(attempt, _no_such_dag(error, dag_id), f"/dags/{dag_id}/dagRuns")
                if error.reached:
                    maybe_ours = True
                    found = self.find(dag_id, run_id)
                    if found is not None:
                        return accept(found), True

    def ensure(
        self, dag_id: str, run_id: str, conf: Mapping[str, Any], run_after: str
    ) -> tuple[DagRun, bool]:
        """Like `start`, but takes a run with any conf, and remembers the runs it has seen.

        Hundreds of events may mean one run, and MWAA takes 10 calls a second.

        Raises:
            AirflowError: when Airflow does not take it.
        """
        known = self._memory.runs.get((dag_id, run_id))
        if known is not None:
            return known, False
        run, created = self.start(dag_id, run_id, conf, run_after, any_conf=True)
        self._memory.keep(dag_id, run)
        return run, created

    def find(self, dag_id: str, run_id: str) -> DagRun | None:
        """The run, or None.

        Raises:
            AirflowError: when Airflow does not answer.
        """
        path = f"/dags/{dag_id}/dagRuns/{run_id}"
        if len(path) > REST_PATH_LIMIT:
            return self._find_in_list(dag_id, run_id)
        try:
            return _dag_run(self._call("GET", path))
        except AirflowError as error:
            if error.problem.status == 404:
                return None
            raise

    def runs_since(self, dag_id: str, moment: str) -> Iterator[DagRun]:
        """The runs that are under way, at most 100, and those that ended after a moment, at most 100.

        Raises:
            AirflowError: when Airflow does not answer.
        """
        for query in ({"state": ["running", "queued"]}, {"end_date_gte": moment}):
            answer = self._call("GET", f"/dags/{dag_id}/dagRuns", query={**query, "limit": _PAGE})
            yield from map(_dag_run, _records(answer, "dag_runs"))

    def tasks(self, dag_id: str, run_id: str) -> tuple[TaskState, ...]:
        """The run's task instances in the order they started, at most 100.

        Raises:
            AirflowError: when Airflow does not answer.
        """
        # With both ids in the path it would be longer than MWAA takes.
        wanted = {"dag_ids": [dag_id], "dag_run_ids": [run_id], "page_limit": _PAGE}
        answer = self._call("POST", "/dags/~/dagRuns/~/taskInstances/list", wanted)
        found = _records(answer, "task_instances")
        found.sort(key=lambda task: str(task.get("start_date") or "~"))  # not started comes last
        return tuple(_task(task) for task in found)

    def _find_in_list(self, dag_id: str, run_id: str) -> DagRun | None:
        query = {"run_id_pattern": run_id, "limit": _PAGE}  # matches anywhere in the id
        try:
            answer = self._call("GET", f"/dags/{dag_id}/dagRuns", query=query)
        except AirflowError as error:
            if error.problem.status == 404:
                return None
            raise
        runs = _records(answer, "dag_runs")
        return next((_dag_run(run) for run in runs if run.get("dag_run_id") == run_id), None)

    def _existing(self, dag_id: str, run_id: str, error: AirflowError) -> DagRun:
        found = self.find(dag_id, run_id)
        if found is None:  # 409 also stands for a logical date that is taken
            raise AirflowError(_conflict(error.problem.message)) from error
        return found

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        """A call that may be repeated as often as there is time."""
        attempt = 0
        while True:
            try:
                return self._once(method, path, body, query)
            except AirflowError as error:
                attempt += 1
                self._pause(attempt, error, path)

    def _pause(self, attempt: int, error: AirflowError, path: str) -> None:
        """Wait before another attempt, or raise the error when it is final or there is no time for one."""
        if not error.problem.retryable:
            raise error
        # Full jitter: callers that were throttled together do not come back together.
        longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)
        pause = random.uniform(longest / 8, longest)  # noqa: S311  # spreads load, keeps no secret
        if self._remaining() < pause + CONNECT_SECONDS + READ_SECONDS + _ANSWER_SECONDS:
            raise error
        if self._on_wait:
            self._on_wait(Wait(attempt=attempt, seconds=round(pause, 3), kind=error.problem.kind, path=path))
        self.waited += pause
        self._sleep(pause)

    def _once(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        request: dict[str, Any] = {"Name": self._environment, "Path": path, "Method": method}
        if body is not None:
            request["Body"] = body
        if query is not None:
            request["QueryParameters"] = query
        self.calls += 1
        try:
            answer = self._client.invoke_rest_api(**request).get("RestApiResponse")
        except ClientError as error:
            raise _translate(error, self._environment) from error
        except ParamValidationError as error:
            raise AirflowError(_problem("malformed", str(error))) from error
        except BotoCoreError as error:
            raise _no_answer(error) from error
        if not isinstance(answer, Mapping):
            raise AirflowError(_unexpected(f"{type(answer).__name__} instead of an object"), reached=True)
        return answer


def _problem(
    kind: ErrorKind, message: str, next_step: str = "", *, retryable: bool = False, status: int | None = None
) -> RunProblem:
    return RunProblem(kind=kind, message=message, next_step=next_step, retryable=retryable, status=status)


def _translate(error: ClientError, environment: str) -> AirflowError:
    """What an error of MWAA, or of Airflow behind it, means."""
    response: Mapping[str, Any] = error.response
    code = str(response.get("Error", {}).get("Code", ""))
    if code in {"RestApiClientException", "RestApiServerException"}:
        return _translate_airflow(response)
    if code in _THROTTLED:
        step = "Try again in a minute; MWAA takes about 10 calls a second."
        return AirflowError(_problem("throttled", str(error), step, retryable=True))
    if code in _DENIED:
        step = "Grant the role of the Lambda airflow:InvokeRestApi on the environment's role."
        return AirflowError(_problem("access_denied", str(error), step))
    if code == "ResourceNotFoundException":
        step = "Set AIRFLOW_ENVIRONMENT of the Lambda to an environment that exists and is AVAILABLE."
        message = f"MWAA has no environment '{environment}' here: {error}"
        return AirflowError(_problem("environment_missing", message, step))
    if code == "ValidationException":
        step = "Look at the state of the environment and at what was asked for."
        return AirflowError(_problem("rejected", str(error), step))
    step = "Try again; if it stays, look at the environment's state in the MWAA console."
    return AirflowError(_problem("airflow_unavailable", str(error), step, retryable=True), reached=True)


def _translate_airflow(response: Mapping[str, Any]) -> AirflowError:
    status = response.get("RestApiStatusCode")
    status = status if isinstance(status, int) else 500
    body = response.get("RestApiResponse")
    detail = body.get("detail") if isinstance(body, Mapping) else body
    message = f"Airflow answered {status}: {str(detail or 'no details')[:500]}"
    if status >= 500:
        step = "Try again; if it stays, look at the web server's log of the environment."
        problem = _problem("airflow_unavailable", message, step, retryable=True, status=status)
        return AirflowError(problem, reached=True)
    if status == 429:
        return AirflowError(_problem("throttled", message, "Try again.", retryable=True, status=status))
    if status in {401, 403}:
        step = "Give the Lambda's role an Airflow role that may trigger and read runs."
        return AirflowError(_problem("access_denied", message, step, status=status))
    step = "Read Airflow's message; the DAG's import errors are on its page."
    return AirflowError(_problem("rejected", message, step, status=status))


def _no_answer(error: BotoCoreError) -> AirflowError:
    name = type(error).__name__
    if name in {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}:
        return AirflowError(_problem("access_denied", str(error), "Give the Lambda an execution role."))
    step = "Try again; if it stays, look at the Lambda's subnets, security groups and VPC endpoint for MWAA."
    # Without a connection nothing was executed; after a read time-out we cannot know.
    reached = name not in {"EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError"}
    return AirflowError(_problem("airflow_unavailable", str(error), step, retryable=True), reached=reached)


def _unexpected(found: str) -> RunProblem:
    step = "Try again; if it stays, check that the environment runs Airflow 3."
    return _problem("airflow_unavailable", f"Airflow answered {found}", step, retryable=True)


def _conflict(message: str) -> RunProblem:
    step = "Start a new pipeline: a run id stands for one configuration."
    return _problem("conflict", message, step, status=409)


def _no_such_dag(error: AirflowError, dag_id: str) -> AirflowError:
    if error.problem.status != 404:
        return error
    step = "Deploy the DAGs of this release; a new file takes Airflow up to a few minutes to parse."
    return AirflowError(_problem("dag_not_found", f"Airflow has no DAG '{dag_id}'", step, status=404))


def _check_same(run: DagRun, conf: Mapping[str, Any]) -> DagRun:
    if canonical(run.conf) != canonical(conf):
        raise AirflowError(_conflict(f"run {run.run_id} exists with another conf"))
    return run


def _dag_run(answer: Mapping[str, Any]) -> DagRun:
    run_id, state, conf = answer.get("dag_run_id"), answer.get("state"), answer.get("conf") or {}
    if not isinstance(run_id, str) or state not in get_args(RunState) or not isinstance(conf, Mapping):
        raise AirflowError(_unexpected("a run without id, state or conf"), reached=True)
    return DagRun(run_id, cast(RunState, state), conf)


def _records(answer: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    records = answer.get(key)
    if not isinstance(records, list) or not all(isinstance(one, Mapping) for one in records):
        raise AirflowError(_unexpected(f"a list without {key}"))
    return list(records)


def _task(record: Mapping[str, Any]) -> TaskState:
    task_id, number, seconds = record.get("task_id"), record.get("try_number"), record.get("duration")
    index = record.get("map_index")
    if isinstance(index, int) and index >= 0:
        task_id = f"{task_id}[{index}]"
    return TaskState(
        task_id=str(task_id),
        state=str(record.get("state") or ""),
        try_number=number if isinstance(number, int) else 0,
        # A task that was deferred starts anew when it resumes; until it ends, its duration is negative.
        seconds=round(float(seconds), 3) if isinstance(seconds, int | float) and seconds >= 0 else None,
    )
