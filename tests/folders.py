"""The folders of tests: the unit in which a run is told of, and in which the pipeline's jobs take it."""

from __future__ import annotations


def of(nodeid: str) -> str:
    """The folder of a test: `tests/unit`, `tests/e2e`, or one of `tests/contract` and `tests/local`.

    Args:
        nodeid: Such as `tests/contract/lambda/test_lambda_requests.py::test_it (call)`.
    """
    path = nodeid.partition("::")[0].split("/")[:-1]
    depth = 3 if path[1:2] in (["contract"], ["local"]) else 2
    return "/".join(path[:depth])
