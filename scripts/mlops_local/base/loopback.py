"""Keep web pages out: what a browser sends to a server on loopback on behalf of a page is refused.

Listening on 127.0.0.1 keeps other machines out, not the pages that a person on this machine looks at. Host is
another name if a page had its own name resolved to 127.0.0.1 (DNS rebinding). Origin and Sec-Fetch-Site say
whose page asks, and no page can change them. Clients that are not browsers send neither.
https://fetch.spec.whatwg.org/#origin-header, https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApplication = Callable[[Message, Receive, Send], Awaitable[None]]

# A page of this server itself, or an address that a person typed.
_OWN = ("", "same-origin", "none")


def refusal(port: int, headers: Mapping[str, str], more_hosts: Iterable[str] = ()) -> str:
    """Why a request is refused; empty for one that is not.

    Args:
        port: The server's own.
        headers: `host`, `origin` and `sec-fetch-site`, as far as the request has them.
        more_hosts: What Host may be besides 127.0.0.1 and localhost with the port.
    """
    host = headers.get("host", "").lower()
    if host not in {f"127.0.0.1:{port}", f"localhost:{port}", *more_hosts}:
        return f"This server does not answer for the host {host!r}: use http://127.0.0.1:{port}\n"
    if headers.get("origin", f"http://{host}") != f"http://{host}" or (
        headers.get("sec-fetch-site", "") not in _OWN
    ):
        return "This server does not answer pages of other sites: open its address in a tab of its own\n"
    return ""


class OwnPagesOnly:
    """A WSGI application behind `refusal`."""

    def __init__(self, app: WSGIApplication, port: int, more_hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._port = port
        self._more_hosts = tuple(more_hosts)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        names = {"host": "HTTP_HOST", "origin": "HTTP_ORIGIN", "sec-fetch-site": "HTTP_SEC_FETCH_SITE"}
        headers = {name: str(environ[key]) for name, key in names.items() if key in environ}
        why = refusal(self._port, headers, self._more_hosts)
        if not why:
            return self._app(environ, start_response)
        body = why.encode()
        start_response("403 Forbidden", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]


def own_pages_only(app: AsgiApplication, port: int) -> AsgiApplication:
    """An ASGI application behind `refusal`."""

    async def guarded(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
            return
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            # one that comes twice is none of those that are known
            key = name.decode("latin-1").lower()
            headers[key] = ",".join(filter(None, (headers.get(key), value.decode("latin-1"))))
        why = refusal(port, headers)
        if not why:
            await app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            content_type = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 403, "headers": content_type})
            await send({"type": "http.response.body", "body": why.encode()})

    return guarded
