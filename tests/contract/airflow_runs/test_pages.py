"""A web page that a person looks at beside Airflow gets no answer of it."""

from __future__ import annotations

from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from .stack import Stack


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}],
    ids=str,
)
@pytest.mark.parametrize("path", ["/auth/token", "/api/v2/version", "/"])
def test_a_page_of_another_site_is_refused(stack: Stack, path: str, headers: dict[str, str]) -> None:
    with pytest.raises(HTTPError, match="403") as caught:
        urlopen(Request(stack.airflow + path, headers=headers), timeout=30)
    assert caught.value.read().startswith(b"This server does not answer")


def test_without_the_password_there_is_no_token(stack: Stack) -> None:
    for url, body, code in (
        ("/auth/token", None, "403"),
        ("/auth/token/login", None, "403"),
        ("/auth/token", b'{"username": "admin", "password": "admin"}', "401"),
        ("/api/v2/dags", None, "401"),
    ):
        asked = Request(stack.airflow + url, body, {"Content-Type": "application/json"})
        with pytest.raises(HTTPError, match=code):
            urlopen(asked, timeout=30)
