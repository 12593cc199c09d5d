"""Answer requests: GET /ping and POST /invocations, as SageMaker asks.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html

cheroot, CherryPy's server, rather than the standard library's: a bounded number of threads, time-outs for
slow clients, and on SIGTERM the requests in hand are answered first.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cheroot.wsgi import Server

from penguins import artifact
from penguins.columns import Row, read_row
from penguins.container import ModelError

logger = logging.getLogger(__name__)

# Thousands of penguins in one request; SageMaker itself stops at 6 MB.
BODY_LIMIT = 1024 * 1024
# SageMaker kills a container 30 s after it sent SIGTERM.
SHUTDOWN_SECONDS = 20

StartResponse = Callable[[str, list[tuple[str, str]]], object]
Predict = Callable[[artifact.Model, list[Row]], Iterable[dict[str, Any]]]


class RequestError(Exception):
    """A request that cannot be answered; `status` is the HTTP status line."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


def read_json(text: str, inputs: Sequence[str]) -> list[Row]:
    """`{"instances": [{column: value, ...}, ...]}`.

    Raises:
        ModelError: saying what is wrong with it.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"the body is no valid JSON: {error}") from error
    if not isinstance(document, dict) or list(document) != ["instances"]:
        raise ModelError('the body must be {"instances": [{column: value, ...}, ...]}')
    instances = document["instances"]
    if not isinstance(instances, list) or not all(isinstance(one, dict) for one in instances):
        raise ModelError("'instances' must be a list of objects")
    return [read_row(one, inputs, f"instances[{index}]") for index, one in enumerate(instances)]


def read_csv(text: str, inputs: Sequence[str]) -> list[Row]:
    """One penguin a line, without a header: the values of the inputs, in their order.

    Raises:
        ModelError: naming the line.
    """
    rows = []
    try:
        for number, values in enumerate(csv.reader(io.StringIO(text)), start=1):
            if len(values) != len(inputs):
                raise ModelError(f"line {number} has {len(values)} values; it must have {len(inputs)}")
            rows.append(read_row(dict(zip(inputs, values, strict=True)), inputs, f"line {number}"))
    except csv.Error as error:
        raise ModelError(f"the body is no valid CSV: {error}") from error
    return rows


READERS = {"application/json": read_json, "text/csv": read_csv}


class Application:
    """The WSGI application of one loaded model."""

    def __init__(self, model: artifact.Model, inputs: Sequence[str], predict: Predict) -> None:
        self._model = model
        self._inputs = inputs
        self._predict = predict
        metadata = model.metadata
        data = metadata["training_data"]
        self._identity = {
            "name": metadata["name"],
            "version": metadata["version"],
            "training_data": {"uri": data["uri"], "fingerprint": data["fingerprint"]},
        }

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        try:
            status, answer = "200 OK", self._answer(environ)
        except RequestError as error:
            status, answer = error.status, {"error": str(error)}
        except Exception:  # pylint: disable=broad-exception-caught  # a caller never sees a traceback
            logger.exception("the request could not be answered")
            status, answer = "500 Internal Server Error", {"error": "internal error; see the endpoint's log"}
        body = json.dumps({**answer, "model": self._identity}).encode()
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    def _answer(self, environ: dict[str, Any]) -> dict[str, Any]:
        match environ["REQUEST_METHOD"], environ["PATH_INFO"]:
            case "GET", "/ping":
                return {}
            case "POST", "/invocations":
                return {"predictions": list(self._predict(self._model, self._read(environ)))}
            case _, "/ping" | "/invocations":
                raise RequestError("405 Method Not Allowed", "use GET /ping or POST /invocations")
            case _:
                raise RequestError("404 Not Found", "use GET /ping or POST /invocations")

    def _read(self, environ: dict[str, Any]) -> list[Row]:
        content_type = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
        reader = READERS.get(content_type)
        if reader is None:
            allowed = " or ".join(READERS)
            raise RequestError(
                "415 Unsupported Media Type", f"Content-Type is '{content_type}'; it must be {allowed}"
            )
        body: bytes = environ["wsgi.input"].read(BODY_LIMIT + 1)
        if len(body) > BODY_LIMIT:
            raise RequestError("413 Content Too Large", f"the body is larger than {BODY_LIMIT} bytes")
        try:
            rows = reader(body.decode("utf-8"), self._inputs)
        except UnicodeDecodeError as error:
            raise RequestError("400 Bad Request", f"the body is no UTF-8: {error.reason}") from error
        except ModelError as error:
            raise RequestError("400 Bad Request", str(error)) from error
        if not rows:
            raise RequestError("400 Bad Request", "there is no penguin in the body")
        return rows


def serve(application: Application) -> None:
    """Serve until SIGTERM. The port opens once the model is loaded, so /ping never lies.

    Raises:
        ModelError: when the port cannot be opened.
    """
    # The handler only writes to a pipe: an exception raised from it would come in the middle of anything.
    stop, ask_to_stop = os.pipe()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(ask_to_stop, b"."))

    host = os.environ.get("MLOPS_BIND_HOST", "127.0.0.1")
    port = os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080")
    if not port.isdecimal():
        raise ModelError(f"SAGEMAKER_BIND_TO_PORT is {port!r}; it must be a port number")
    server = Server((host, int(port)), application, numthreads=4, shutdown_timeout=SHUTDOWN_SECONDS)
    try:
        server.prepare()
    except OSError as error:
        raise ModelError(f"Cannot listen on {host}:{port}: {error}") from error
    logger.info("serving on %s:%s", host, port)
    listener = threading.Thread(target=server.serve)
    listener.start()
    os.read(stop, 1)
    logger.info("stopping")
    server.stop()
    listener.join()
