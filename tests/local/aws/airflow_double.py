"""Stands in for Airflow's REST API: answers what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

PASSWORD = "of-the-double"


@dataclass
class Asked:
    """One request below /api/v2."""

    method: str
    path: str
    token: str
    body: Any


@dataclass
class AirflowDouble:
    """A server on 127.0.0.1; `answers` maps `METHOD /path` to a status and a document."""

    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    """All tokens given out; only the last one is valid."""

    def __enter__(self) -> Self:
        double = self

        class Handler(BaseHTTPRequestHandler):
            def _handle(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                raw = self.rfile.read(length)
                self._answer(*double.answer(self.command, self.path, self.headers, raw))

            do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _handle  # noqa: N815

            def _answer(self, status: int, document: Any) -> None:
                text = document if isinstance(document, str) else json.dumps(document)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, method: str, path: str, headers: Any, raw: bytes) -> tuple[int, Any]:
        if path == "/auth/token" and method == "POST":
            if json.loads(raw) != {"username": "admin", "password": PASSWORD}:
                return 401, {"detail": "Invalid credentials"}
            self.tokens.append(f"token-{len(self.tokens)}")
            return 201, {"access_token": self.tokens[-1]}
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        if not self.tokens or token != self.tokens[-1]:
            return 401, {"detail": "Not authenticated"}
        path = path.removeprefix("/api/v2")
        self.asked.append(Asked(method, path, token, json.loads(raw) if raw else None))
        return self.answers.get(f"{method} {path}", (404, {"detail": "Not Found"}))
