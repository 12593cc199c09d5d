"""ECR's API is moto's; this corrects what it says about where the registry is.

moto names registries as AWS does (`<account>.dkr.ecr.<region>.amazonaws.com`) and issues tokens that expired
in 2015, which clients refuse to use.
"""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING

from werkzeug.wrappers import Request, Response

from mlops_local.base.config import LocalAwsConfig
from mlops_local.base.wire import AMZ_JSON, json_response
from mlops_local.registry.api import LocalRegistry

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

_TOKEN_SECONDS = 12 * 3600


class Ecr:
    """ECR in front of moto's."""

    def __init__(self, config: LocalAwsConfig, registry: LocalRegistry, moto: WSGIApplication) -> None:
        self._config = config
        self._registry = registry
        self._moto = moto

    def handle(self, request: Request, environ: WSGIEnvironment) -> Response:
        """Answer one API call."""
        operation = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
        if operation == "GetAuthorizationToken":
            return self._token()
        if operation == "GetDownloadUrlForLayer":
            layer = json.loads(request.get_data())
            url = f"{self._config.endpoint}/v2/{layer['repositoryName']}/blobs/{layer['layerDigest']}"
            document = {"downloadUrl": url, "layerDigest": layer["layerDigest"]}
            return json_response(document, content_type=AMZ_JSON)
        answer = Response.from_app(self._moto, environ, buffered=True)
        real = f"{self._config.account}.dkr.ecr.{self._config.region}.amazonaws.com"
        answer.data = answer.get_data().replace(real.encode(), self._config.registry.encode())
        return answer

    def _token(self) -> Response:
        user, password = self._registry.credentials
        grant = {
            "authorizationToken": base64.b64encode(f"{user}:{password}".encode()).decode(),
            "expiresAt": time.time() + _TOKEN_SECONDS,
            "proxyEndpoint": self._config.endpoint,
        }
        return json_response({"authorizationData": [grant]}, content_type=AMZ_JSON)
