from __future__ import annotations

import asyncio
from typing import Any

import pytest
from werkzeug.test import Client
from werkzeug.wrappers import Response

from mlops_local.base.loopback import OwnPagesOnly, own_pages_only

PORT = 4566
OWN = f"http://127.0.0.1:{PORT}"

CLIENTS = [
    {},
    {"Host": f"localhost:{PORT}"},
    {"Host": f"LOCALHOST:{PORT}"},
    {"Host": "api.airflow.local"},
    # a page of the server itself, an address that was typed
    {"Origin": OWN, "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
]
PAGES = [
    {"Host": "evil.example"},
    {"Host": f"evil.example:{PORT}"},
    {"Host": "127.0.0.1"},
    {"Host": f"127.0.0.1:{PORT + 1}"},
    {"Host": f"127.0.0.1:{PORT}.evil.example"},
    {"Host": f"api.airflow.local:{PORT}"},
    {"Host": ""},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": OWN + ".evil.example"},
    {"Origin": f"https://127.0.0.1:{PORT}"},
    # the same machine, another server: a page of a project that somebody develops there
    {"Origin": f"http://127.0.0.1:{PORT + 1}", "Sec-Fetch-Site": "same-site"},
    {"Origin": f"http://localhost:{PORT}", "Sec-Fetch-Site": "cross-site"},
    # a GET for an image or a link has no Origin
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


def by_wsgi(headers: dict[str, str]) -> int:
    client = Client(OwnPagesOnly(Response("in"), PORT, ["api.airflow.local"]))
    return client.get("/", headers={"Host": f"127.0.0.1:{PORT}"} | headers).status_code


def by_asgi(headers: dict[str, str]) -> int:
    """Asks as uvicorn asks an application."""
    sent: list[Any] = []

    async def answer(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    given = {"Host": f"127.0.0.1:{PORT}"} | headers
    raw = [(name.lower().encode(), value.encode()) for name, value in given.items()]
    asyncio.run(own_pages_only(answer, PORT)({"type": "http", "headers": raw}, None, send))  # type: ignore[arg-type]
    return int(sent[0]["status"])


@pytest.mark.parametrize("headers", CLIENTS, ids=str)
def test_a_client_of_this_machine_is_let_in(headers: dict[str, str]) -> None:
    assert by_wsgi(headers) == 200
    if headers.get("Host") != "api.airflow.local":
        assert by_asgi(headers) == 200


@pytest.mark.parametrize("headers", PAGES, ids=str)
def test_a_page_of_another_site_is_not(headers: dict[str, str]) -> None:
    assert by_wsgi(headers) == by_asgi(headers) == 403
