"""Runs Lambda functions: the zip as it was uploaded, in a process of a Python that has boto3.

As on AWS, a process that has answered stays warm for the next event, with its imports and clients. moto
keeps the functions; only its way of invoking them (a container of Lambda's own images) is replaced.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import selectors
import shutil
import subprocess
import tempfile
import threading
import time
import uuid
import zipfile
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_local.aws.access.principals import Principals
from mlops_local.aws.functions.queue import LambdaQueue, Slots
from mlops_local.base.children import Children
from mlops_local.base.config import LocalAwsConfig

if TYPE_CHECKING:
    from moto.awslambda.models import LambdaBackend, LambdaFunction

_BOOTSTRAP = Path(__file__).with_name("bootstrap.py")
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-ib
_INIT_SECONDS = 10.0
_LOG_TAIL = 4096
# By which alias the function is being called in this thread.
_ALIAS: ContextVar[str] = ContextVar("alias", default="")


@dataclass(frozen=True)
class Invocation:
    """What came of one event."""

    payload: bytes
    error: bool
    log: str


@dataclass
class _Worker:
    """One process that holds a loaded function."""

    process: subprocess.Popen[bytes]
    results: int
    """The file descriptor it answers on."""
    buffers: dict[str, bytes] = field(default_factory=lambda: {"result": b"", "log": b""})


class LambdaRuntime:
    """The processes of all functions of one account."""

    def __init__(self, config: LocalAwsConfig, children: Children, principals: Principals) -> None:
        self._config = config
        self._principals = principals
        self._children = children
        self._folder = config.home / "lambda"
        self._lock = threading.Lock()
        self._idle: dict[str, tuple[str, list[_Worker]]] = {}
        """Per function ARN: the key of its current code and settings, and the processes that have them."""

    def invoke(self, function: LambdaFunction, event: object, alias: str = "") -> Invocation:
        """Run a function on one event, in a warm process if there is one."""
        request = str(uuid.uuid4())
        worker = self._take(function)
        if worker is None:
            worker = self._start(function)
            ready = self._receive(worker, time.monotonic() + _INIT_SECONDS, "")
            if ready is None:
                return self._give_up(worker, "Runtime.InitError", f"RequestId: {request} Error: Init failed")
        seconds = float(function.timeout)
        call = {
            "id": request,
            "event": event,
            "arn": function.function_arn + (f":{alias}" if alias else ""),
            "deadline": time.time() + seconds,
        }
        try:
            assert worker.process.stdin is not None  # noqa: S101  # we asked for a pipe
            worker.process.stdin.write(json.dumps(call).encode() + b"\n")
            worker.process.stdin.flush()
        except OSError:
            return self._ended(worker, request)
        answer = self._receive(worker, time.monotonic() + seconds, f"END RequestId: {request}")
        if answer is None and worker.process.poll() is None and not _at_end(worker):
            message = f"RequestId: {request} Error: Task timed out after {seconds:.2f} seconds"
            return self._give_up(worker, "Sandbox.Timedout", message)
        if answer is None:
            return self._ended(worker, request)
        log = _drain(worker)
        self._give_back(function, worker)
        return Invocation(json.dumps(answer["payload"]).encode(), not answer["ok"], log)

    def run(self, function: LambdaFunction, event: object, alias: str) -> Invocation:
        """As `invoke`, with the log in the function's log group."""
        invocation = self.invoke(function, event, alias)
        function.logs_backend.ensure_log_group(function.logs_group_name)
        function.save_logs(invocation.log)
        return invocation

    def _key(self, function: LambdaFunction) -> str:
        settings = [function.handler, function.timeout, function.memory_size, function.environment_vars]
        return function.code_sha_256 + hashlib.sha256(json.dumps(settings).encode()).hexdigest()

    def _take(self, function: LambdaFunction) -> _Worker | None:
        key = self._key(function)
        with self._lock:
            known, idle = self._idle.get(function.function_arn, (key, []))
            stale = idle if known != key else []
            self._idle[function.function_arn] = (key, [] if stale else idle)
            worker = None if stale or not idle else idle.pop()
        for old in stale:
            self._end(old)
        if worker is not None and worker.process.poll() is not None:  # it ended between two events
            self._end(worker)
            return None
        return worker

    def _give_back(self, function: LambdaFunction, worker: _Worker) -> None:
        with self._lock:
            key, idle = self._idle[function.function_arn]
            current = key == self._key(function)
            if current:
                idle.append(worker)
        if not current:
            self._end(worker)

    def _start(self, function: LambdaFunction) -> _Worker:
        root = self._unpack(function)
        reader, writer = os.pipe()
        environment = self._config.child_environment() | self._config.mwaa_environment()
        environment |= {str(name): str(value) for name, value in function.environment_vars.items()}
        environment |= self._principals.variables(function.role, function.function_name)
        environment |= {
            "HOME": str(root),
            "LAMBDA_TASK_ROOT": str(root),
            "_HANDLER": str(function.handler),
            "_MLOPS_RESULTS": str(writer),
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.run_time}",
            "AWS_LAMBDA_FUNCTION_NAME": function.function_name,
            "AWS_LAMBDA_FUNCTION_VERSION": str(function.version),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size),
            "AWS_LAMBDA_LOG_GROUP_NAME": function.logs_group_name,
            "AWS_LAMBDA_LOG_STREAM_NAME": time.strftime(f"%Y/%m/%d/[{function.version}]") + uuid.uuid4().hex,
        }
        try:
            process = self._children.start(
                # -P: the folder of the bootstrap must not be searched for modules
                [str(self._config.lambda_python), "-P", str(_BOOTSTRAP)],
                environment=environment,
                folder=root,
                stdin=subprocess.PIPE,
                pass_fds=(writer,),
            )
        except OSError:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        return _Worker(process, reader)

    def _unpack(self, function: LambdaFunction) -> Path:
        digest = hashlib.sha256(function.code_bytes).hexdigest()
        root = self._folder / f"{function.function_name}-{digest[:16]}"
        if root.is_dir():
            return root
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=self._folder))
        # zipfile drops drive letters, leading slashes and `..` of member names, and makes no links
        with zipfile.ZipFile(io.BytesIO(function.code_bytes)) as archive:
            archive.extractall(draft)
        try:
            draft.rename(root)
        except OSError:  # another event was first
            shutil.rmtree(draft)
        return root

    def _receive(self, worker: _Worker, deadline: float, last_line: str) -> dict[str, Any] | None:
        """The next answer, once the log has arrived up to `last_line` too; None without an answer."""
        assert worker.process.stdout is not None  # noqa: S101  # we asked for a pipe
        with selectors.DefaultSelector() as selector:
            selector.register(worker.results, selectors.EVENT_READ, "result")
            selector.register(worker.process.stdout.fileno(), selectors.EVENT_READ, "log")
            while b"\n" not in worker.buffers["result"] or last_line.encode() not in worker.buffers["log"]:
                events = selector.select(max(deadline - time.monotonic(), 0))
                if not events:
                    return None
                for key, _ in events:
                    chunk = os.read(key.fd, 65536)
                    worker.buffers[key.data] += chunk
                    if not chunk and key.data == "result":
                        return None
                    if not chunk:
                        selector.unregister(key.fd)
        line, _, worker.buffers["result"] = worker.buffers["result"].partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ended(self, worker: _Worker, request: str) -> Invocation:
        """The process went away under the event: sys.exit, a crash, out of memory."""
        try:
            status: int | str = worker.process.wait(1)
        except subprocess.TimeoutExpired:
            status = "unknown"
        message = f"RequestId: {request} Error: Runtime exited with error: exit status {status}"
        return self._give_up(worker, "Runtime.ExitError", message)

    def _give_up(self, worker: _Worker, kind: str, message: str) -> Invocation:
        self._children.stop(worker.process, grace=0)
        _read_rest(worker)
        log = _drain(worker) + message + "\n"
        self._end(worker)
        return Invocation(json.dumps({"errorMessage": message, "errorType": kind}).encode(), True, log)

    def _end(self, worker: _Worker) -> None:
        self._children.stop(worker.process, grace=0)
        os.close(worker.results)
        for pipe in (worker.process.stdin, worker.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # an event that could not be written any more
                    pipe.close()


def _at_end(worker: _Worker) -> bool:
    """Whether the process closed its results: it is on its way out."""
    with selectors.DefaultSelector() as selector:
        selector.register(worker.results, selectors.EVENT_READ)
        return bool(selector.select(0)) and b"\n" not in worker.buffers["result"]


def _read_rest(worker: _Worker) -> None:
    """What a process wrote last; something it started may still hold the pipe, so without waiting."""
    assert worker.process.stdout is not None  # noqa: S101  # we asked for a pipe
    pipe = worker.process.stdout.fileno()
    os.set_blocking(pipe, False)
    try:
        while chunk := os.read(pipe, 65536):
            worker.buffers["log"] += chunk
    except BlockingIOError:
        pass


def _drain(worker: _Worker) -> str:
    log, worker.buffers["log"] = worker.buffers["log"], b""
    return log.decode(errors="replace")


def install(runtime: LambdaRuntime, queue: LambdaQueue, slots: Slots) -> None:
    """Have moto's functions run here."""
    from moto.awslambda.models import LambdaBackend, LambdaFunction
    from moto.core.exceptions import JsonRESTError

    class TooManyRequestsError(JsonRESTError):
        """https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_Errors"""

        code = 429

        def __init__(self) -> None:
            super().__init__("TooManyRequestsException", "Rate Exceeded.")

    def invoke(self: LambdaFunction, body: Any, request_headers: Any, response_headers: Any) -> bytes:
        headers = {str(name).lower(): value for name, value in dict(request_headers).items()}
        try:
            event = json.loads(body or "{}")
        except ValueError as error:
            raise JsonRESTError(
                "InvalidRequestContentException", f"Could not parse request body into json: {error}"
            ) from error
        how = headers.get("x-amz-invocation-type", "RequestResponse")
        if how == "DryRun":
            return b""
        if how == "Event":
            queue.put(self, event, _ALIAS.get())
            return b""
        if not slots.take(self, 0):
            raise TooManyRequestsError
        try:
            invocation = runtime.run(self, event, _ALIAS.get())
        finally:
            slots.give_back(self)
        if invocation.error:
            response_headers["x-amz-function-error"] = "Unhandled"
        tail = invocation.log.encode()[-_LOG_TAIL:]
        response_headers["x-amz-log-result"] = base64.b64encode(tail).decode()
        response_headers["x-amz-executed-version"] = str(self.version)
        return invocation.payload

    LambdaFunction.invoke = invoke  # type: ignore[method-assign]
    call: Callable[..., Any] = LambdaBackend.invoke

    def call_by(self: LambdaBackend, function_name: str, qualifier: str | None, *rest: Any) -> Any:
        """A function gets the alias by which it was called; moto forgets it."""
        by_name = function_name.partition(":")[2] if not function_name.startswith("arn:") else ""
        by_arn = ":".join(function_name.split(":")[7:])
        token = _ALIAS.set(qualifier or by_name or by_arn)
        try:
            return call(self, function_name, qualifier, *rest)
        finally:
            _ALIAS.reset(token)

    LambdaBackend.invoke = call_by  # type: ignore[assignment,method-assign]
