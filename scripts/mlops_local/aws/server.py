"""Serves the local AWS on its own, without the rest of the stack."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mlops_local.aws.app import LocalAws, create_app
from mlops_local.base.config import LocalAwsConfig


@contextmanager
def serve(config: LocalAwsConfig) -> Iterator[LocalAws]:
    """Serve on 127.0.0.1 until the block ends, then stop everything."""
    from werkzeug.serving import WSGIRequestHandler, make_server

    class AwsHandler(WSGIRequestHandler):
        """Leaves requests out of the log: thousands of polls would bury what matters."""

        protocol_version = "HTTP/1.1"

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing."""

    app = create_app(config)
    server = make_server("127.0.0.1", config.port, app, threaded=True, request_handler=AwsHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield app
    finally:
        app.close()
        server.shutdown()
        server.server_close()
