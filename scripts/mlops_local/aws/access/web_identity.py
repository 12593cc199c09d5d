"""STS for jobs with an OIDC token: takes the token apart as AWS does, then holds it against the role's trust.

The words of the errors are AWS's own, from
https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html and
https://repost.aws/knowledge-center/iam-sts-invalididentitytoken. moto would give a role to anybody.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit
from xml.sax.saxutils import escape

from werkzeug.wrappers import Request, Response

from mlops_local.base.config import LocalAwsConfig
from mlops_local.base.wire import ServiceError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment
    from moto.iam.models import IAMBackend

Claims = Mapping[str, Any]
Fetch = Callable[[str], bytes]

_LOG = logging.getLogger(__name__)
_ACTION = "AssumeRoleWithWebIdentity"
_SECONDS = 5.0  # AWS's own patience with an identity provider


class WebIdentity:
    """Answers what must be refused; leaves it to moto to hand out the credentials."""

    def __init__(self, config: LocalAwsConfig, fetch: Fetch | None = None) -> None:
        self._config = config
        self._fetch = fetch or _download

    def is_asked(self, request: Request) -> bool:
        """Whether a request is an AssumeRoleWithWebIdentity."""
        form = request.method == "POST" and request.mimetype == "application/x-www-form-urlencoded"
        return form and _form(request).get("Action") == _ACTION

    def handle(self, request: Request, environ: WSGIEnvironment) -> Response | None:
        """The refusal of an AssumeRoleWithWebIdentity; None where moto is to hand out the credentials."""
        form = _form(request)
        environ["wsgi.input"] = io.BytesIO(request.get_data())  # for moto, which reads it anew
        try:
            self.check(form.get("RoleArn", ""), form.get("WebIdentityToken", ""))
        except ServiceError as error:
            return _refusal(error)
        return None

    def check(self, role_arn: str, token: str) -> None:
        """Whether this token may take this role.

        Raises:
            ServiceError: as STS would answer.
        """
        claims = _claims(token)
        provider = self._provider(claims)
        if _audience(claims) not in provider.client_id_list:
            raise ServiceError("InvalidIdentityToken", "Incorrect token audience")
        now, expires = int(time.time()), int(claims.get("exp", 0))
        if now >= expires:
            raise ServiceError(
                "ExpiredTokenException",
                f"Token expired: current date/time {now} must be before the expiration date/time {expires}",
            )
        self._check_signature(token, str(claims["iss"]))
        role = next((one for one in self._iam().get_roles() if one.arn == role_arn), None)
        trust = role.assume_role_policy_document if role else ""
        if not trust or not trusts(json.loads(trust), provider.arn, provider.url, claims):
            # STS does not name the claim; the log of the local AWS does.
            _LOG.warning("%s does not trust %s: %s", role_arn, claims.get("sub"), trust or "no such role")
            raise ServiceError("AccessDenied", f"Not authorized to perform sts:{_ACTION}", status=403)

    def _provider(self, claims: Claims) -> Any:
        issuer = str(claims.get("iss", ""))
        for provider in self._iam().open_id_providers.values():
            if provider.url == issuer.partition("://")[2]:
                return provider
        raise ServiceError(
            "InvalidIdentityToken", f"No OpenIDConnect provider found in your account for {issuer}"
        )

    def _check_signature(self, token: str, issuer: str) -> None:
        """By the keys the issuer shows, where its own configuration says they are."""
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        try:
            configuration = json.loads(self._fetch(f"{issuer}/.well-known/openid-configuration"))
            keys = json.loads(self._fetch(configuration["jwks_uri"]))
        except (OSError, ValueError, KeyError) as error:
            raise ServiceError(
                "InvalidIdentityToken",
                "Couldn't retrieve verification key from your identity provider,  please reference "
                f"{_ACTION} documentation for requirements",
            ) from error
        try:
            jwt.decode(token, KeySet.import_key_set(keys), algorithms=["RS256"])
        except (JoseError, ValueError) as error:
            raise ServiceError(
                "InvalidIdentityToken",
                "The web identity token that was passed could not be validated by Amazon Web Services.",
            ) from error

    def _iam(self) -> IAMBackend:
        from moto.iam.models import iam_backends

        return iam_backends[self._config.account]["aws"]


def _form(request: Request) -> dict[str, str]:
    return dict(parse_qsl(request.get_data().decode(errors="replace")))


def trusts(policy: Mapping[str, Any], provider_arn: str, provider: str, claims: Claims) -> bool:
    """Whether a role's trust policy lets a token of this provider take the role."""
    known = {f"{provider}:aud": _audience(claims), f"{provider}:sub": str(claims.get("sub", ""))}
    for statement in policy["Statement"]:
        federated = statement.get("Principal", {}).get("Federated", [])
        if (
            statement["Effect"] == "Allow"
            and provider_arn in _listed(federated)
            and f"sts:{_ACTION}" in _listed(statement["Action"])
            and all(_holds(*test, known) for test in _tests(statement.get("Condition", {})))
        ):
            return True
    return False


def _tests(condition: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, list[str]]]:
    for operator, keys in condition.items():
        for key, values in keys.items():
            yield operator, key, _listed(values)


def _holds(operator: str, key: str, values: list[str], known: Mapping[str, str]) -> bool:
    """One condition; an operator or key that is not known here never holds."""
    found = known.get(key)
    if found is None:
        return False
    if operator == "StringEquals":
        return found in values
    return operator == "StringLike" and any(re.fullmatch(_pattern(value), found) for value in values)


def _pattern(value: str) -> str:
    return re.escape(value).replace(r"\*", ".*").replace(r"\?", ".")


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _audience(claims: Claims) -> str:
    found = claims.get("aud", "")
    return str(found[0] if isinstance(found, list) and found else found)


def _claims(token: str) -> Claims:
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        claims = None
    if not isinstance(claims, dict):
        raise ServiceError("InvalidIdentityToken", "The ID Token provided is not a valid JWT.")
    for name in ("aud", "iss", "sub"):
        if not claims.get(name):
            raise ServiceError("InvalidIdentityToken", f"Missing a required claim: {name}")
    return claims


def _refusal(error: ServiceError) -> Response:
    """As the query protocol writes an error."""
    return Response(
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
        f"<Code>{error.code}</Code><Message>{escape(error.message)}</Message></Error>"
        "<RequestId>00000000-0000-0000-0000-000000000000</RequestId></ErrorResponse>",
        status=error.status,
        content_type="text/xml",
    )


def _download(url: str) -> bytes:
    """From this machine only: the local AWS has no business elsewhere."""
    from urllib.request import ProxyHandler, build_opener

    if urlsplit(url).hostname not in ("127.0.0.1", "localhost"):
        raise OSError(f"{url} is not on this machine")
    with build_opener(ProxyHandler({})).open(url, timeout=_SECONDS) as answer:
        return bytes(answer.read())
