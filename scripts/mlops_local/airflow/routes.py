"""Let Airflow's web servers build a route when it is first asked for, and one version of the workers' API.

FastAPI builds a route where it is declared, with a model of each parameter, and anew in each router that
includes it: Airflow's 136 routes 515 times. The workers' API is built once more for each of the releases
whose workers it takes. Both are half of what a start of Airflow costs, and hardly any of it is ever used.

Executed by `.venv-airflow`'s Python, and imported by name, as `runner.py` is.
"""

from __future__ import annotations

import functools
from importlib import import_module
from typing import Any, NoReturn

_ARGUMENTS = "_arguments_to_build_with"
# What FastAPI computes before the dependencies, by models that are not there yet.
_MODELS = ("response_field", "stream_item_field", "response_fields")


class _EnoughError(Exception):
    """What including and matching a route takes is known."""


def build_when_used() -> None:
    """Have FastAPI end the making of a route before its models, and go on when one of them is looked at."""
    routing: Any = import_module("fastapi.routing")
    build = routing.APIRoute.__init__

    def stop(**_arguments: object) -> NoReturn:
        raise _EnoughError

    @functools.wraps(build)
    def declare(self: Any, *arguments: Any, **options: Any) -> None:
        real = routing.create_model_field, routing.get_dependant
        routing.create_model_field, routing.get_dependant = dict, stop
        try:
            build(self, *arguments, **options)
        except _EnoughError:
            for name in _MODELS:
                vars(self).pop(name, None)
            vars(self)[_ARGUMENTS] = arguments, options
        finally:
            routing.create_model_field, routing.get_dependant = real

    def missing(self: Any, name: str) -> Any:
        if name.startswith("__") or _ARGUMENTS not in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        arguments, options = vars(self).pop(_ARGUMENTS)
        # A change of what was known already is for good.
        known = dict(vars(self))
        build(self, *arguments, **options)
        vars(self).update(known)
        return getattr(self, name)

    routing.APIRoute.__init__ = declare
    routing.APIRoute.__getattr__ = missing


def serve_newest_version() -> None:
    """Leave the workers' API its newest version: all that asks here is of the same release."""
    cadwyn: Any = import_module("cadwyn")
    removed: str = vars(import_module("cadwyn.route_generation"))["_DELETED_ROUTE_TAG"]
    versions: Any = import_module("airflow.api_fastapi.execution_api.versions")
    newest = cadwyn.Version(versions.bundle.versions[0].value)
    versions.bundle = cadwyn.VersionBundle(cadwyn.HeadVersion(), newest)
    router: Any = import_module("airflow.api_fastapi.execution_api.routes").execution_api_router
    router.routes = [route for route in router.routes if removed not in route.tags]
