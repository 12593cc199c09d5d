"""The Lambda `dag-trigger`, as CI jobs call it."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mlops.base import console
from mlops.base.errors import ContractError, TriggerError
from mlops.base.strict_json import encode, loads
from mlops.clients.aws.s3 import Storage
from mlops.contracts.runs import (
    CONF_LIMIT,
    SCHEMA_VERSION,
    Conf,
    ErrorKind,
    EventConf,
    RunAnswer,
    RunProblem,
    RunRequest,
    canonical,
    conf_pointer,
)

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

# How long `start` goes on asking, in seconds. MWAA takes 10 calls a second in all: of many
# pipelines that start at once the last has to wait for the others.
PATIENCE = 300.0
_FIRST_PAUSE = 2.0
_LONGEST_PAUSE = 10.0
# The function was stopped at its time-out, or its process was killed: what it asked of Airflow may be done,
# and the run id lets the next call find it.
# https://docs.aws.amazon.com/lambda/latest/dg/python-exceptions.html
_CUT_OFF = frozenset({"Sandbox.Timedout", "Runtime.ExitError"})
_PASSING = frozenset(
    {"TooManyRequestsException", "ServiceException", "ResourceConflictException", "ResourceNotReadyException"}
)


class Trigger:
    """Starts runs and asks how they do. What Airflow refuses is in the answer's `problem`.

    Args:
        client: boto3's `lambda` client.
        function: The Lambda's name.
        storage: Takes a conf that is too large to travel.
        sleep: Waits for that many seconds.
        now: The time, in seconds.
    """

    def __init__(  # pylint: disable=too-many-arguments,too-many-positional-arguments
        self,
        client: LambdaClient,
        function: str,
        storage: Storage,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._function = function
        self._storage = storage
        self._sleep = sleep
        self._now = now

    def start(self, dag_id: str, run_id: str, conf: Conf | EventConf, spill_uri: str) -> RunAnswer:
        """Start the run, or find it when it has this conf. Trouble that may pass is waited out for a while.

        Args:
            dag_id: Which DAG.
            run_id: Decides which run it is; asking again never starts a second one.
            conf: Travels unchanged.
            spill_uri: The S3 object to put a conf into that is too large to travel.

        Raises:
            TriggerError: when the Lambda itself cannot be used.
            StorageError: when a large conf cannot be written.
        """
        document: dict[str, Any] = encode(conf)
        text = canonical(document)
        if len(text) > CONF_LIMIT:
            self._storage.write(text, spill_uri, "application/json")
            document = conf_pointer(spill_uri, hashlib.sha256(text).hexdigest())
        request = RunRequest(
            schema_version=SCHEMA_VERSION, action="trigger", dag_id=dag_id, run_id=run_id, conf=document
        )
        began = self._now()
        for attempt in itertools.count():
            answer = self._ask(request)
            longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)
            # Jitter: callers that were turned away together do not come back together.
            pause = random.uniform(longest / 4, longest)  # noqa: S311  # spreads load, keeps no secret
            if answer.problem is None or not answer.problem.retryable:
                return answer
            if self._now() - began + pause > PATIENCE:
                break
            console.say(f"{answer.problem.kind.replace('_', ' ')}: asking again in {pause:.0f} s")
            self._sleep(pause)
        return answer

    def status(self, dag_id: str, run_id: str) -> RunAnswer:
        """How the run does, asked once.

        Raises:
            TriggerError: when the Lambda itself cannot be used.
        """
        return self._ask(
            RunRequest(schema_version=SCHEMA_VERSION, action="status", dag_id=dag_id, run_id=run_id)
        )

    def _ask(self, request: RunRequest) -> RunAnswer:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            reply = self._client.invoke(
                # The alias of this DAG: a role may call only those of the DAGs it may start.
                FunctionName=f"{self._function}:{request.dag_id}",
                InvocationType="RequestResponse",
                Payload=json.dumps(encode(request)).encode(),
            )
            payload = reply["Payload"].read()
        except ClientError as error:
            return self._refused(request, error)
        except BotoCoreError as error:  # no connection, or none that lasted
            return _passing(request, "airflow_unavailable", f"the Lambda {self._function}: {error}")
        if reply.get("FunctionError"):
            return self._crashed(request, payload)
        try:
            return loads(RunAnswer, payload, f"the answer of the Lambda {self._function}")
        except ContractError as error:
            raise TriggerError(
                error.what,
                cause=error.cause,
                next_step="Use ci-templates and Lambda of one release of ml-ops: apply its Terraform.",
            ) from error

    def _refused(self, request: RunRequest, error: Any) -> RunAnswer:
        code = error.response["Error"]["Code"]
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _PASSING or status == 429 or status >= 500:
            return _passing(
                request, "throttled" if status == 429 else "airflow_unavailable", f"Lambda: {error}"
            )
        if code == "ResourceNotFoundException":
            step = "Apply this environment's Terraform, or check the account and region of the job."
        elif code == "AccessDeniedException":
            step = (
                f"Start {request.dag_id} from the job whose role may; docs/operate/permissions.md says which,"
                f" by lambda:InvokeFunction on {self._function}:{request.dag_id}."
            )
        else:
            step = f"Look at the state of the function {self._function} in the Lambda console."
        raise TriggerError(
            f"The Lambda {self._function} cannot be invoked", cause=str(error), next_step=step
        ) from error

    def _crashed(self, request: RunRequest, payload: bytes) -> RunAnswer:
        """The function ended without an answer of ours: cut off, which may pass, or broken."""
        try:
            document = json.loads(payload)
        except ValueError:
            document = {}
        details: Mapping[str, Any] = document if isinstance(document, dict) else {}
        message = str(details.get("errorMessage", ""))
        if "timed out" in message or details.get("errorType") in _CUT_OFF:
            return _passing(request, "airflow_unavailable", f"the Lambda {self._function}: {message}")
        raise TriggerError(
            f"The Lambda {self._function} failed",
            cause=f"{details.get('errorType', 'unknown error')}: {message}"[:1000],
            next_step=f"Read the end of the log group /aws/lambda/{self._function}.",
        )


def _passing(request: RunRequest, kind: ErrorKind, message: str) -> RunAnswer:
    problem = RunProblem(
        kind=kind,
        message=message,
        next_step="Run this job again in a few minutes; it goes on where it stopped.",
        retryable=True,
    )
    return RunAnswer(dag_id=request.dag_id, run_id=request.run_id, problem=problem)
