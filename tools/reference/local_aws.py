"""What the local SageMaker plays, from the lists by which it refuses the rest."""

from __future__ import annotations

from mlops_local.aws import services as aws_services
from mlops_local.aws import shapes
from mlops_local.aws.sagemaker import played
from tools.reference.markdown import code, table

# The clients of services whose signatures have another name.
_CLIENTS = {"airflow": "mwaa", "monitoring": "cloudwatch"}
_ALL_BUT_NETWORK = "everything but networks: no machine starts"


def operations() -> str:
    """Return every operation that is played, with its fields."""
    rows = [
        (
            code(operation),
            _names(fields),
            _names(played.KEPT.get(operation, frozenset())),
            _names(_refused(operation)),
        )
        for operation, fields in sorted(played.PLAYED.items())
    ]
    return table(("operation", "fields with their effect", "kept without an effect", "refused"), rows)


def values() -> str:
    """Return the fields of which only some values are played."""
    rows = [
        (code(operation), code(path), ", ".join(code(str(value)) for value in sorted(allowed, key=str)))
        for operation, paths in sorted(played.VALUES.items())
        for path, allowed in sorted(paths.items())
    ]
    return table(("operation", "field", "only"), rows)


def services() -> str:
    """Return the services that answer, with their operations that are refused."""
    rows = []
    for service in sorted(aws_services.PLAYED):
        pattern = aws_services.WORK.get(service)
        model = shapes.service_model(_CLIENTS.get(service, service))
        known: list[str] = list(model.operation_names)
        names = [name for name in known if pattern and pattern.fullmatch(name)]
        rows.append((code(service), _ALL_BUT_NETWORK if service == "ec2" else _names(frozenset(names))))
    return table(("service", "refused, since nothing does that work"), rows)


def _refused(operation: str) -> frozenset[str]:
    """The members of the request, as the API has them, of which nothing is played or kept."""
    shape = shapes.service_model("sagemaker").operation_model(operation).input_shape
    known = {
        path.partition(".")[0] for path in played.PLAYED[operation] | played.KEPT.get(operation, frozenset())
    }
    return frozenset(shape.members if shape else ()) - known


def _names(paths: frozenset[str]) -> str:
    return ", ".join(map(code, sorted(paths))) or "nothing"
