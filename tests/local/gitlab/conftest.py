"""A local GitLab on a free port, served as the local stack serves it."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from werkzeug.serving import WSGIRequestHandler, make_server

from mlops_local.gitlab.app import create_app
from mlops_local.stack.stack import Stack

Git = Callable[..., str]


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack of which only GitLab runs."""
    home = tmp_path / "stack"
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        port = listener.getsockname()[1]
        app = create_app(home / "gitlab", port)
        server = make_server(
            "127.0.0.1", port, app, threaded=True, request_handler=_Handler, fd=listener.fileno()
        )
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield Stack(
            name="test",
            home=str(home),
            engine="process",
            pid=1,
            started=0.0,
            aws_port=1,
            gitlab_port=port,
            airflow_port=1,
        )
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """Runs git in a folder, as somebody, and gives what it prints."""
    (tmp_path / "gitconfig").write_text("[user]\n  name = Ada\n  email = ada@localhost\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")

    def run(folder: Path, *arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.fixture
def repository(tmp_path: Path, git: Git) -> Path:
    """A repository with one commit on main."""
    folder = tmp_path / "phishing-url"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / "README.md").write_text("# phishing-url\n")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=feat: begin")
    return folder
