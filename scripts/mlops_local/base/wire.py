"""How AWS's JSON services answer over HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from werkzeug.wrappers import Response

JSON = "application/json"
AMZ_JSON = "application/x-amz-json-1.1"


class ServiceError(Exception):
    """An error that the service's API defines.

    Args:
        code: The error's name in the service model.
        message: What the service says.
        status: The HTTP status.
        members: Further members of the error's shape.
    """

    def __init__(
        self, code: str, message: str, *, status: int = 400, members: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.members = dict(members or {})


def json_response(document: object, *, status: int = 200, content_type: str = JSON) -> Response:
    """An answer with a JSON body."""
    return Response(json.dumps(document), status=status, content_type=content_type)


def error_response(error: ServiceError, content_type: str) -> Response:
    """An error in the form that both JSON protocols of the SDKs read."""
    # Services differ in the case of this member, and the SDKs read either.
    document = {"__type": error.code, "message": error.message, "Message": error.message, **error.members}
    answer = json_response(document, status=error.status, content_type=content_type)
    answer.headers["x-amzn-ErrorType"] = error.code
    return answer
