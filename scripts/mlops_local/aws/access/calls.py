"""What a request asks for, in IAM's words: actions, and their resources where the request names them.

https://docs.aws.amazon.com/service-authorization/latest/reference/
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

from mlops_local.aws.access import s3_calls

# A service's name in signatures, where IAM has another.
_PREFIXES = {
    "monitoring": "cloudwatch",
    "email": "ses",
    "tagging": "tag",
    "api.sagemaker": "sagemaker",
}
# Operations that IAM calls otherwise.
_ACTIONS = {
    "lambda:Invoke": "lambda:InvokeFunction",
    "budgets:CreateBudget": "budgets:ModifyBudget",
    "budgets:UpdateBudget": "budgets:ModifyBudget",
    "budgets:DeleteBudget": "budgets:ModifyBudget",
    "budgets:CreateNotification": "budgets:ModifyBudget",
    "budgets:DeleteNotification": "budgets:ModifyBudget",
    "budgets:CreateSubscriber": "budgets:ModifyBudget",
    "budgets:DeleteSubscriber": "budgets:ModifyBudget",
    "budgets:DescribeBudget": "budgets:ViewBudget",
    "budgets:DescribeBudgets": "budgets:ViewBudget",
    "budgets:DescribeNotificationsForBudget": "budgets:ViewBudget",
    "budgets:DescribeSubscribersForNotification": "budgets:ViewBudget",
}
_INVOCATION = re.compile(r"/endpoints/(?P<name>[^/]+)/(?:async-)?invocations")
_LAMBDA_NAME = re.compile(r"/[0-9-]+/functions/(?P<name>[^/]+)")
_SCHEDULE = re.compile(r"/(?P<kind>schedules|schedule-groups|tags)/(?P<name>.+)")
_RPC = re.compile(r"/service/\w+/operation/(?P<name>\w+)")
_AIRFLOW_REST = re.compile(r"/restapi/(?P<name>[^/]+)")
_BY_PATH = (
    ("sagemaker", _INVOCATION, "InvokeEndpoint", "EndpointName"),
    ("airflow", _AIRFLOW_REST, "InvokeRestApi", "Name"),
)
# What the platform's callers may be in Airflow; the request does not say it, IAM adds it.
_AIRFLOW_ROLE = "Op"


@dataclass(frozen=True)
class SignedRequest:
    """What matters of an HTTP request that is signed for a service."""

    service: str
    method: str
    path: str
    query: str
    target: str
    """The header X-Amz-Target."""
    body: bytes
    copied: str = ""
    """The header X-Amz-Copy-Source."""


@dataclass(frozen=True)
class Call:
    """One action. `resources` are the names one resource goes by; none if it is not known."""

    action: str
    resources: tuple[str, ...] = ()
    context: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    through: str = ""
    """The service that needs the action on the caller's behalf."""


@dataclass(frozen=True)
class AccountRegion:
    """Where resources are."""

    region: str
    account: str

    def arn(self, service: str, resource: str) -> str:
        """The name of a resource here."""
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"


def read(request: SignedRequest, place: AccountRegion) -> Iterator[Call]:
    """The actions of a request; none where they are not known."""
    prefix = _PREFIXES.get(request.service, request.service)
    if prefix == "s3":
        for action, resource in s3_calls.read(request.method, request.path, request.query, request.copied):
            yield Call(action, (resource,))
        return
    operation, members = _operation(request)
    if not operation:
        return
    action = f"{prefix}:{operation}"
    name = _RESOURCES.get(prefix)
    space = members.get("Namespace") if prefix == "cloudwatch" else None
    context = {"cloudwatch:namespace": (str(space),)} if space else {}
    if prefix == "sagemaker" and members.get("ModelApprovalStatus"):
        context = {"sagemaker:modelapprovalstatus": (str(members["ModelApprovalStatus"]),)}
    for resources in name(operation, members, place) if name else [()]:
        yield Call(_ACTIONS.get(action, action), resources, context)
    if prefix == "sagemaker":
        yield from _passed_roles(operation, members)
    if prefix == "scheduler" and members.get("RoleArn"):
        service = {"iam:passedtoservice": ("scheduler.amazonaws.com",)}
        yield Call("iam:PassRole", (str(members["RoleArn"]),), service, through="scheduler")


def _operation(request: SignedRequest) -> tuple[str, dict[str, Any]]:
    """An operation's name and its members, as far as they are needed."""
    if request.target:
        return request.target.rpartition(".")[2], _document(request.body)
    for service, path, operation, member in _BY_PATH:
        if request.service == service and (match := path.fullmatch(request.path)):
            return operation, {member: unquote(match["name"])}
    if match := _RPC.fullmatch(request.path):
        return match["name"], {}
    if request.service == "scheduler":
        return _rest_operation("scheduler", request.method, request.path), _schedule_members(request)
    if request.service in ("lambda", "airflow"):
        name = _LAMBDA_NAME.match(request.path)
        members = {"FunctionName": unquote(name["name"])} if name else {}
        return _rest_operation(request.service, request.method, request.path), members
    form = {key: values[0] for key, values in parse_qs(request.body.decode("utf-8", "replace")).items()}
    return form.get("Action", ""), form


def _schedule_members(request: SignedRequest) -> dict[str, Any]:
    found = _SCHEDULE.fullmatch(unquote(request.path))
    if found is None:
        return {}
    document = _document(request.body)
    group = document.get("GroupName") or parse_qs(request.query).get("groupName", ["default"])[0]
    resources = {
        "schedules": f"schedule/{group}/{found['name']}",
        "schedule-groups": f"schedule-group/{found['name']}",
        "tags": found["name"],
    }
    target = document.get("Target")
    role = target.get("RoleArn") if isinstance(target, Mapping) else None
    return {"Name": resources[found["kind"]], "RoleArn": role}


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body or b"{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _rest_operation(service: str, method: str, path: str) -> str:
    for name, wanted, pattern in _rest_routes({"airflow": "mwaa"}.get(service, service)):
        if wanted == method and pattern.fullmatch(path.rstrip("/")):
            return name
    return ""


_ROUTES: dict[str, list[tuple[str, str, re.Pattern[str]]]] = {}


def _rest_routes(service: str) -> list[tuple[str, str, re.Pattern[str]]]:
    """Operation, method and path of everything a REST service offers."""
    if service not in _ROUTES:
        from mlops_local.aws.shapes import service_model

        model = service_model(service)
        routes = []
        for name in list(model.operation_names):
            http = model.operation_model(name).http
            path = re.sub(r"\{\w+\}", "[^?]+", http["requestUri"].partition("?")[0].rstrip("/"))
            routes.append((name, http["method"], re.compile(path)))
        # the longest path first: names of resources are matched widely
        _ROUTES[service] = sorted(routes, key=lambda route: -len(route[2].pattern))
    return _ROUTES[service]


def _passed_roles(operation: str, members: Mapping[str, Any]) -> Iterator[Call]:
    """SageMaker takes a role only from those who may hand it over."""
    if not operation.startswith("Create"):
        return
    for member in ("RoleArn", "ExecutionRoleArn"):
        if members.get(member):
            yield Call(
                "iam:PassRole",
                (str(members[member]),),
                {"iam:passedtoservice": ("sagemaker.amazonaws.com",)},
                through="sagemaker",
            )
    if members.get("Tags"):
        yield Call("sagemaker:AddTags", through="sagemaker")


Resources = Iterator[tuple[str, ...]]


def _sagemaker(operation: str, members: Mapping[str, Any], place: AccountRegion) -> Resources:
    kinds = {
        "TrainingJob": "training-job",
        "ProcessingJob": "processing-job",
        "Model": "model",
        "EndpointConfig": "endpoint-config",
        "Endpoint": "endpoint",
    }
    noun = re.sub(r"^(Create|Update|Describe|Delete|Stop|Invoke)", "", operation)
    wanted = [noun, "EndpointConfig"] if operation in ("CreateEndpoint", "UpdateEndpoint") else [noun]
    found: list[tuple[str, ...]] = [
        (place.arn("sagemaker", f"{kinds[kind]}/{str(members[kind + 'Name']).lower()}"),)
        for kind in wanted
        if kind in kinds and members.get(kind + "Name")
    ]
    if members.get("ResourceArn"):
        found = [(str(members["ResourceArn"]),)]
    yield from found or _model_packages(noun, members, place) or [()]


def _model_packages(noun: str, members: Mapping[str, Any], place: AccountRegion) -> list[tuple[str, ...]]:
    group = str(members.get("ModelPackageGroupName") or "")
    package = str(members.get("ModelPackageArn") or members.get("ModelPackageName") or "")
    if noun == "ModelPackage" and package:
        return [
            (package if package.startswith("arn:") else place.arn("sagemaker", f"model-package/{package}"),)
        ]
    if not group or noun not in ("ModelPackage", "ModelPackageGroup"):
        return []
    arn = group if group.startswith("arn:") else place.arn("sagemaker", f"model-package-group/{group}")
    made = arn.replace(":model-package-group/", ":model-package/") + "/1"
    return [(arn,), (made,)] if noun == "ModelPackage" else [(arn,)]


def _logs(operation: str, members: Mapping[str, Any], place: AccountRegion) -> Resources:
    group = members.get("logGroupName")
    if not group:
        yield ()
        return
    name = place.arn("logs", f"log-group:{group}")
    if operation in ("PutLogEvents", "GetLogEvents") and members.get("logStreamName"):
        yield (f"{name}:log-stream:{members['logStreamName']}",)
    else:
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/iam-access-control-overview-cwl.html
        yield name, f"{name}:*"


def _named(member: str, kind: str) -> Callable[[str, Mapping[str, Any], AccountRegion], Resources]:
    """A resource that one member names, by its name or its ARN."""

    def resources(_operation: str, members: Mapping[str, Any], place: AccountRegion) -> Resources:
        name = str(members.get(member) or "")
        service, _, prefix = kind.partition(" ")
        if name.startswith("arn:"):
            yield (name,)
        else:
            yield (place.arn(service, f"{prefix}{name}"),) if name else ()

    return resources


def _repository(_operation: str, members: Mapping[str, Any], place: AccountRegion) -> Resources:
    if members.get("resourceArn"):  # of tags
        yield (str(members["resourceArn"]),)
        return
    for name in members.get("repositoryNames") or [members.get("repositoryName")]:
        yield (place.arn("ecr", f"repository/{name}"),) if name else ()


def _secret(_operation: str, members: Mapping[str, Any], place: AccountRegion) -> Resources:
    name = str(members.get("SecretId") or members.get("Name") or "")  # the latter where it is created
    if name.startswith("arn:"):
        yield (name,)
        return
    from moto.secretsmanager.models import secretsmanager_backends

    # Secrets Manager ends an ARN with six characters; those of a secret that is not there nobody knows.
    secret: Any = secretsmanager_backends[place.account][place.region].secrets.get(name)
    yield (str(secret.arn) if secret else place.arn("secretsmanager", f"secret:{name}-??????"),)


def _topic(_operation: str, members: Mapping[str, Any], _place: AccountRegion) -> Resources:
    name = members.get("TopicArn") or members.get("TargetArn") or members.get("ResourceArn")
    yield (str(name),) if name else ()


def _queue(_operation: str, members: Mapping[str, Any], place: AccountRegion) -> Resources:
    name = str(members.get("QueueUrl") or members.get("QueueName") or "").rpartition("/")[2]
    yield (place.arn("sqs", name),) if name else ()


def _parameter(_operation: str, members: Mapping[str, Any], place: AccountRegion) -> Resources:
    name = str(members.get("Name") or "").lstrip("/")
    yield (place.arn("ssm", f"parameter/{name}"),) if name else ()


def _airflow(operation: str, members: Mapping[str, Any], place: AccountRegion) -> Resources:
    if operation == "InvokeRestApi":
        yield (place.arn("airflow", f"role/{members['Name']}/{_AIRFLOW_ROLE}"),)
    else:
        yield ()


_RESOURCES: dict[str, Callable[[str, Mapping[str, Any], AccountRegion], Resources]] = {
    "airflow": _airflow,
    "ecr": _repository,
    "lambda": _named("FunctionName", "lambda function:"),
    "logs": _logs,
    "sagemaker": _sagemaker,
    "scheduler": _named("Name", "scheduler "),
    "secretsmanager": _secret,
    "sns": _topic,
    "sqs": _queue,
    "ssm": _parameter,
}
