"""Start a Docker daemon with nothing in it, load a base image (which stands for pulling it), and build.

    fresh_daemon.py <archive of the base image> <build command...>

What docker-in-docker does in every CI job.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main(archive: str, *build: str) -> int:
    """The build's exit code."""
    with tempfile.TemporaryDirectory(prefix="mlops-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        host = f"unix://{folder}/docker.sock"
        with (folder / "log").open("wb") as log:
            daemon = subprocess.Popen(
                [
                    "dockerd",
                    f"--host={host}",
                    f"--data-root={folder}/data",
                    f"--exec-root={folder}/exec",
                    f"--pidfile={folder}/pid",
                    "--bridge=none",
                    "--iptables=false",
                    "--ip6tables=false",
                ],
                stdout=log,
                stderr=log,
            )
        environment = {**os.environ, "DOCKER_HOST": host}
        try:
            while subprocess.run(
                [build[0], "version"], env=environment, check=False, capture_output=True
            ).returncode:
                if daemon.poll() is not None:
                    sys.exit((folder / "log").read_text(encoding="utf-8")[-2000:])
                time.sleep(0.1)
            subprocess.run([build[0], "load", "--quiet", "--input", archive], env=environment, check=True)
            return subprocess.run(build, env=environment, check=False).returncode
        finally:
            daemon.terminate()
            daemon.wait(30)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
