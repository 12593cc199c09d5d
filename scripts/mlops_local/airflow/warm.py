"""What every component or task of Airflow would compute for itself, done once before they are forked.

Executed by `.venv-airflow`'s Python, and imported by name, as `runner.py` is.
"""

from __future__ import annotations

import functools
import inspect
from importlib import import_module
from types import SimpleNamespace
from typing import Any

# AWS clients that tasks use. Made here once, every task's process has them when it is forked.
CLIENTS = ("ssm", "s3", "sagemaker", "sagemaker-runtime", "logs", "cloudwatch")
# AWS services whose clients the provider's hooks make, each in a session of its own.
HOOKED = ("s3", "sagemaker", "sns", "secretsmanager")


def prepare_tables() -> None:
    """Wire the classes of the tables."""
    import_module("sqlalchemy.orm").configure_mappers()


def prepare_messages() -> None:
    """Make the models that tasks read and write messages with."""
    comms: Any = import_module("airflow.sdk.execution_time.comms")
    runner: Any = import_module("airflow.sdk.execution_time.task_runner")
    # Each task would make one of all that a supervisor can say, and one a template field.
    comms.TypeAdapter = runner.TypeAdapter = functools.cache(comms.TypeAdapter)
    comms.TypeAdapter(comms.ToTask)
    runner.TypeAdapter(runner.JsonValue)


def prepare_clients() -> None:
    """Make AWS clients, and read once what each further one would read again."""
    for service in CLIENTS:
        import_module("mlops.clients.aws.session").client(service)
    # A session reads the descriptions of AWS's services for itself (85 ms), and each hook makes a session.
    sessions: Any = import_module("botocore.session")
    sessions.create_loader = functools.cache(sessions.create_loader)
    # A client that meets an error looks through all shapes of its service for it.
    models: Any = import_module("botocore.client")
    models.ServiceModel = _once_a_description(models.ServiceModel)
    for service in HOOKED:
        _ = import_module("boto3.session").Session().client(service).exceptions
    # The provider names its caller in the user agent, by the names on the stack: it needs no source of them.
    hooks: Any = import_module("airflow.providers.amazon.aws.hooks.base_aws")
    hooks.inspect = SimpleNamespace(**{**vars(inspect), "stack": functools.partial(inspect.stack, 0)})


def _once_a_description(model: Any) -> Any:
    made: dict[int, Any] = {}  # by the id of a description, which its model keeps

    def known(description: Any, **options: Any) -> Any:
        if id(description) not in made:
            made[id(description)] = model(description, **options)
        return made[id(description)]

    return known
