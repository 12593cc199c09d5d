"""Runs inside a function's process, in place of Lambda's runtime. Standard library only.

Reads one event a line from standard input and writes one result a line to the file descriptor in
`_MLOPS_RESULTS`; the first line it writes says that it is ready. What the function prints goes to the
process's output, between START and END lines as in Lambda's own logs.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

Document = dict[str, Any]
Handler = Callable[[Any, "Context"], Any]


class Context:
    """https://docs.aws.amazon.com/lambda/latest/dg/python-context.html"""

    def __init__(self, call: Document) -> None:
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.invoked_function_arn = call["arn"]
        self.aws_request_id = call["id"]
        self.identity = self.client_context = None
        self._deadline = call["deadline"]

    def get_remaining_time_in_millis(self) -> int:
        """Until the function is stopped."""
        return max(0, int((self._deadline - time.time()) * 1000))


def failure(error: Exception, kind: str = "", message: str = "") -> Document:
    """An error as a caller of the function sees it, without this file's own frames."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
    return {
        "errorMessage": message or str(error),
        "errorType": kind or type(error).__name__,
        "stackTrace": traceback.format_list(frames),
    }


def load() -> tuple[Handler | None, Document | None]:
    """The handler, or the error that kept it from loading."""
    module, _, name = os.environ["_HANDLER"].rpartition(".")
    try:
        return getattr(importlib.import_module(module.replace("/", ".")), name), None
    except ImportError as error:
        return None, failure(
            error, "Runtime.ImportModuleError", f"Unable to import module '{module}': {error}"
        )
    except AttributeError as error:
        missing = f"Handler '{name}' missing on module '{module}'"
        return None, failure(error, "Runtime.HandlerNotFound", missing)
    except SyntaxError as error:
        return None, failure(error, "Runtime.UserCodeSyntaxError")
    except Exception as error:  # pylint: disable=broad-exception-caught  # whatever the module does
        return None, failure(error)


def run(handler: Handler, call: Document) -> Document:
    """The line that answers one event."""
    try:
        result = handler(call["event"], Context(call))
    except Exception as error:  # pylint: disable=broad-exception-caught  # whatever the function does
        traceback.print_exc()
        return {"ok": False, "payload": failure(error)}
    try:
        json.dumps(result)
    except (TypeError, ValueError) as error:
        message = f"Unable to marshal response: {error}"
        return {"ok": False, "payload": failure(error, "Runtime.MarshalError", message)}
    return {"ok": True, "payload": result}


def main() -> None:
    """Answer events until there are no more."""
    root = os.environ["LAMBDA_TASK_ROOT"]
    os.chdir(root)
    sys.path.insert(0, root)
    results = os.fdopen(int(os.environ.pop("_MLOPS_RESULTS")), "w", encoding="utf-8")
    events = os.fdopen(os.dup(0), "r", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # a function that reads its input must not eat an event
    handler, broken = load()

    def answer(document: Document) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        results.write(json.dumps(document) + "\n")
        results.flush()

    answer({"ready": True})
    for line in events:
        call = json.loads(line)
        version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        sys.stdout.write(f"START RequestId: {call['id']} Version: {version}\n")
        document = run(handler, call) if handler else {"ok": False, "payload": broken}
        sys.stderr.flush()
        sys.stdout.write(f"END RequestId: {call['id']}\n")
        answer(document)


if __name__ == "__main__":
    main()
