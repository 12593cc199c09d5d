"""Programs of this folder, run by Airflow's own Python on the checkout's DAGs."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from mlops_local.base import paths

DAGS = Path(__file__).parents[3] / "dags"


def drive(name: str, home: Path, *arguments: str) -> Any:
    """What the program says, as JSON, in its last line; `home` is for what Airflow keeps."""
    done = subprocess.run(
        [str(paths.airflow_python()), "-P", str(Path(__file__).with_name(name)), str(DAGS), *arguments],
        env={
            "PATH": os.environ["PATH"],
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
