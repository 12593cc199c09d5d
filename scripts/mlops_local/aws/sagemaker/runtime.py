"""InvokeEndpoint: passes a request on to a container.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
"""

from __future__ import annotations

import http.client
import random
import re

from werkzeug.wrappers import Request, Response

from mlops_local.aws.sagemaker.capture import Payload
from mlops_local.aws.sagemaker.endpoints import REQUEST_SECONDS, Endpoints
from mlops_local.aws.sagemaker.fleets import Fleet, Variant
from mlops_local.base.config import LocalAwsConfig
from mlops_local.base.wire import JSON, ServiceError, error_response

ROUTE = re.compile(r"/endpoints/(?P<name>[^/]+)/invocations")
_BODY_LIMIT = 6_291_456  # 6 MiB
_MESSAGE_LIMIT = 1500
_PASSED_ON = ("Content-Type", "Accept", "X-Amzn-SageMaker-Custom-Attributes")


class EndpointRuntime:
    """The endpoints' own endpoint."""

    def __init__(self, config: LocalAwsConfig, endpoints: Endpoints) -> None:
        self._config = config
        self._endpoints = endpoints

    def handle(self, request: Request) -> Response:
        """Answer one invocation."""
        match = ROUTE.fullmatch(request.path)
        try:
            if match is None:
                raise ServiceError("UnknownOperationException", f"{request.path} is unknown", status=404)
            return self._invoke(match["name"], request)
        except ServiceError as error:
            return error_response(error, JSON)

    def _invoke(self, name: str, request: Request) -> Response:
        with self._endpoints.answering(name) as fleet:
            if fleet is None:
                account = self._config.account
                raise ServiceError("ValidationError", f"Endpoint {name} of account {account} not found.")
            return self._pass_on(name, fleet, request)

    def _pass_on(self, name: str, fleet: Fleet, request: Request) -> Response:
        body = request.get_data()
        if len(body) > _BODY_LIMIT:
            raise ServiceError(
                "ValidationError", f"The request has {len(body)} bytes, the limit is {_BODY_LIMIT}"
            )
        variant = _choose(fleet.variants, request.headers.get("X-Amzn-SageMaker-Target-Variant"))
        headers = {header: request.headers[header] for header in _PASSED_ON if header in request.headers}
        connection = http.client.HTTPConnection("127.0.0.1", variant.port, timeout=REQUEST_SECONDS)
        try:
            connection.request("POST", "/invocations", body, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._model_error(name, variant, 0, f"the container gave no answer: {error}") from error
        finally:
            connection.close()
        if answer.status >= 400:
            raise self._model_error(name, variant, answer.status, content.decode(errors="replace"))
        content_type = answer.getheader("Content-Type", "application/octet-stream")
        if variant.capture is not None:
            variant.capture.keep(
                Payload(content_type=request.headers.get("Content-Type", ""), body=body),
                Payload(content_type=content_type, body=content),
                request.headers.get("X-Amzn-SageMaker-Inference-Id"),
            )
        response = Response(content, content_type=content_type)
        response.headers["x-Amzn-Invoked-Production-Variant"] = variant.name
        attributes = answer.getheader("X-Amzn-SageMaker-Custom-Attributes")
        if attributes:
            response.headers["X-Amzn-SageMaker-Custom-Attributes"] = attributes
        return response

    def _model_error(self, name: str, variant: Variant, status: int, message: str) -> ServiceError:
        group = f"/aws/sagemaker/Endpoints/{name}"
        region, account = self._config.region, self._config.account
        kind = "client" if 400 <= status < 500 else "server"
        return ServiceError(
            "ModelError",
            f'Received {kind} error ({status}) from primary with message "{message[:_MESSAGE_LIMIT]}". See '
            f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}"
            f"#logEventViewer:group={group} in account {account} for more information.",
            status=424,
            members={
                "OriginalStatusCode": status,
                "OriginalMessage": message[:_MESSAGE_LIMIT],
                "LogStreamArn": self._config.arn(
                    "logs", f"log-group:{group}:log-stream:{variant.shipper.stream}"
                ),
            },
        )


def _choose(variants: tuple[Variant, ...], wanted: str | None) -> Variant:
    if wanted is None:
        weights = [variant.weight for variant in variants]
        # which variant answers is a matter of luck, not of secrecy
        return random.choices(variants, weights if any(weights) else None)[0]  # noqa: S311
    for variant in variants:
        if variant.name == wanted:
            return variant
    raise ServiceError("ValidationError", f"Variant {wanted} not found for Request.")
