"""Git over HTTP: hands requests to git's own `git http-backend`, a CGI program.

https://git-scm.com/docs/git-http-backend
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from werkzeug.exceptions import ClientDisconnected
from werkzeug.wrappers import Response

if TYPE_CHECKING:
    from werkzeug.wrappers import Request

_CHUNK = 64 * 1024
# Where git itself and its configuration are found; nothing of the server's own environment reaches hooks.
_PASSED = ("PATH", "HOME", "LANG", "TMPDIR", "GIT_EXEC_PATH")


def serve(request: Request, repositories: Path, inside: str) -> Response:
    """Answer one request of a git client.

    Args:
        request: What the client asked; its body is passed on as it arrives.
        repositories: The folder of bare repositories.
        inside: The path below that folder, such as `group/project.git/info/refs`.
    """
    backend = subprocess.Popen(  # pylint: disable=consider-using-with  # it outlives this function
        ["git", "http-backend"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_cgi(request, repositories, inside),
    )
    assert backend.stdin is not None and backend.stdout is not None  # noqa: S101  # both are pipes
    # The answer may begin before the whole body was read, so one thread feeds while this one reads.
    feeder = threading.Thread(target=_feed, args=(request.stream, backend.stdin), daemon=True)
    feeder.start()
    status, headers = _head(backend.stdout)
    return Response(_body(backend, feeder), status=status, headers=headers)


def _cgi(request: Request, repositories: Path, inside: str) -> dict[str, str]:
    variables = {name: os.environ[name] for name in _PASSED if name in os.environ}
    variables |= {
        "GIT_PROJECT_ROOT": str(repositories),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": f"/{inside}",
        "REQUEST_METHOD": request.method,
        "QUERY_STRING": request.query_string.decode("ascii", errors="replace"),
        "CONTENT_TYPE": request.headers.get("Content-Type", ""),
        "REMOTE_ADDR": request.remote_addr or "",
        "REMOTE_USER": "local",
        # Repositories of another user of this machine are not the concern of a server that made its own.
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
    }
    for header, variable in (
        ("Content-Length", "CONTENT_LENGTH"),
        ("Content-Encoding", "HTTP_CONTENT_ENCODING"),
        ("Git-Protocol", "GIT_PROTOCOL"),
    ):
        if value := request.headers.get(header):
            variables[variable] = value
    return variables


def _feed(source: IO[bytes], sink: IO[bytes]) -> None:
    # A broken pipe: git answered without reading on, or the client went away.
    with contextlib.suppress(ConnectionError, ClientDisconnected):
        shutil.copyfileobj(source, sink, _CHUNK)
    with contextlib.suppress(ConnectionError):
        sink.close()


def _head(stream: IO[bytes]) -> tuple[int, list[tuple[str, str]]]:
    """The CGI header lines; a program that says nothing at all has failed."""
    status = 200
    headers: list[tuple[str, str]] = []
    while (line := stream.readline()) not in (b"\r\n", b"\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        if name.lower() == "status":
            status = int(value.split()[0])
        else:
            headers.append((name.strip(), value.strip()))
    return (status if headers else 500), headers


def _body(backend: subprocess.Popen[Any], feeder: threading.Thread) -> Iterator[bytes]:
    try:
        while chunk := backend.stdout.read1(_CHUNK):  # type: ignore[union-attr]
            yield chunk
    finally:
        # Reached too when the client hangs up in the middle.
        backend.stdout.close()  # type: ignore[union-attr]
        if backend.poll() is None and feeder.is_alive():
            backend.kill()
        feeder.join(timeout=10)
        backend.wait()
