"""A local AWS in whose SageMaker ten thousand models are: `python crowd.py --home DIRECTORY --port PORT`.

shop--m00 to shop--m49     ours: twenty versions each, the newest 1.2.0+retrain.7 of two days ago
workshop--m00              another project's; newer, and its names contain ours
shop--m01, pre-releases    sixty of merge requests, newer
shop--m02                  an older image was trained again after the newest one
shop--m03                  1.1.0 alone was trained, 1.2.0 never
filler--...                all others, newer
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

MODELS = 50
TOTAL = 10_000
PROJECT = "shop"


def names() -> Iterator[tuple[str, timedelta]]:
    """The name and age of every model."""
    day = timedelta(days=1)
    for model in range(MODELS):
        stem = f"{PROJECT}--m{model:02}"
        for number in range(12):
            yield f"{stem}--1-1-0--r{number}", (40 - number) * day
        if model != 3:
            for number in range(8):
                yield f"{stem}--1-2-0--r{number}", (9 - number) * day
    for number in range(60):
        yield f"work{PROJECT}--m00--1-2-0--r{number}", day
        yield f"{PROJECT}--m01--1-3-0-mr42-{number}--r0", day
    yield f"{PROJECT}--m02--1-1-0--r12", day
    for number in range(TOTAL):
        yield f"filler--m{number % 100:02}--1-{number // 100}-0--r0", timedelta(hours=number % 24)


@contextmanager
def serve(home: Path) -> Iterator[str]:
    """Serve it in a process of its own; gives the endpoint."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, __file__, "--home", str(home / "aws"), "--port", str(port)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    with (home / "aws.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(600):
            try:
                with urlopen(f"http://127.0.0.1:{port}/_mlops/health", timeout=5):
                    break
            except (URLError, ConnectionError):
                assert process.poll() is None, (home / "aws.log").read_text()
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def main() -> None:
    from mlops_local.aws import __main__ as aws
    from mlops_local.aws.sagemaker import models

    plain = models.Models.__init__

    def crowded(self: Any, config: Any, sdk: Any, images: Any, tags: Any) -> None:
        plain(self, config, sdk, images, tags)
        now = datetime.now(UTC)
        for number, (name, age) in zip(range(TOTAL), names(), strict=False):
            record = {"ModelName": name, "ModelArn": self.table.arn(name), "CreationTime": now - age}
            self.table._records[name] = (number, record | {"LastModifiedTime": now - age})

    models.Models.__init__ = crowded  # type: ignore[method-assign]
    aws.main()


if __name__ == "__main__":
    main()
