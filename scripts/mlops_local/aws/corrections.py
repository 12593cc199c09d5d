"""Where moto 5.2 answers other than AWS does and Terraform, or every client after it, would notice.

As little as possible; `tests/contract/terraform/test_corrections.py` holds each to what AWS does.
"""

from __future__ import annotations

import inspect
import json
import threading
from collections.abc import Callable
from copy import copy
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moto.iam.access_control import IAMPolicyStatement, PermissionResult


@cache
def install() -> None:
    """Correct moto in this process, once."""
    from mlops_local.aws.events import metric_streams

    metric_streams.install()
    _keep_lambda_settings()
    _read_conditions_of_denials()
    _describe_rules_of_security_groups()
    _complete_budgets()
    _answer_rotation_periods()
    _keep_newer_versions_of_lifecycles()
    _write_conditionally_in_one_step()
    _answer_whether_buckets_tell_eventbridge()
    _name_identity_providers_with_ports()


def _read_conditions_of_denials() -> None:
    """A statement that denies under a condition denies where the condition holds, and nobody else.

    moto takes a condition it does not know for a denial, so a bucket that denies plain HTTP, or some of the
    account's roles, would refuse everybody. Loopback needs no TLS, and counts as having it. Who calls moto
    does not say here: what a role may is decided before (`access/gate.py`).
    """
    from moto.iam.access_control import IAMPolicyStatement, PermissionResult

    from mlops_local.aws.access.policies import conditions_hold

    original: Callable[..., PermissionResult] = IAMPolicyStatement.is_action_permitted
    known = {"aws:securetransport": ["true"]}

    def is_action_permitted(self: IAMPolicyStatement, *args: Any, **kwargs: Any) -> PermissionResult:
        rule = self._statement  # pylint: disable=protected-access
        if rule.get("Effect") == "Deny" and not conditions_hold(rule, known):
            return PermissionResult.NEUTRAL
        return original(self, *args, **kwargs)

    IAMPolicyStatement.is_action_permitted = is_action_permitted  # type: ignore[method-assign]


def _keep_lambda_settings() -> None:
    """A function's LoggingConfig and DeadLetterConfig are kept and answered; moto drops them."""
    from moto.awslambda.models import LambdaFunction

    create: Callable[..., None] = LambdaFunction.__init__
    answer: Callable[..., dict[str, Any]] = LambdaFunction.get_configuration
    update: Callable[..., dict[str, Any]] = LambdaFunction.update_configuration

    def keep(self: Any, wanted: dict[str, Any]) -> None:
        if "LoggingConfig" in wanted:
            default = {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{self.function_name}"}
            self.mlops_kept["LoggingConfig"] = default | wanted["LoggingConfig"]
            self.logs_group_name = self.mlops_kept["LoggingConfig"]["LogGroup"]
        letters = wanted.get("DeadLetterConfig")
        if letters and letters.get("TargetArn"):
            self.mlops_kept["DeadLetterConfig"] = letters
        elif letters is not None:  # an empty ARN takes it away
            self.mlops_kept.pop("DeadLetterConfig", None)

    def created(self: Any, account_id: str, spec: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        create(self, account_id, spec, *args, **kwargs)
        self.mlops_kept = {}
        keep(self, {"LoggingConfig": {}} | spec)

    def get_configuration(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        configuration: dict[str, Any] = answer(self, *args, **kwargs) | self.mlops_kept
        return configuration

    def update_configuration(self: Any, config_updates: dict[str, Any]) -> dict[str, Any]:
        keep(self, config_updates)
        return update(self, config_updates)

    LambdaFunction.__init__ = created  # type: ignore[method-assign]
    LambdaFunction.get_configuration = get_configuration  # type: ignore[method-assign]
    LambdaFunction.update_configuration = update_configuration  # type: ignore[method-assign]


def _describe_rules_of_security_groups() -> None:
    """A rule is described wherever its description was given; moto reads it of IP ranges alone."""
    from moto.ec2.models.security_groups import SecurityGroupRule

    create: Callable[..., None] = SecurityGroupRule.__init__
    signature = inspect.signature(create)

    def created(self: Any, *args: Any, **kwargs: Any) -> None:
        create(self, *args, **kwargs)
        given = signature.bind(self, *args, **kwargs).arguments
        self.mlops_prefix = given.get("prefix_list_id") or {}

    def description(self: Any) -> str | None:
        sources = (self.ip_range, self.source_group, self.mlops_prefix)
        return next((source["Description"] for source in sources if source.get("Description")), None)

    SecurityGroupRule.__init__ = created  # type: ignore[method-assign]
    SecurityGroupRule.description = property(description)  # type: ignore[assignment, method-assign]


def _complete_budgets() -> None:
    """Who hears of a budget can be asked, and its tags; moto keeps the first and knows none of the calls."""
    from moto.budgets.exceptions import NotFoundException
    from moto.budgets.responses import BudgetsResponse

    create: Callable[..., str] = BudgetsResponse.create_budget

    def create_budget(self: BudgetsResponse) -> str:
        answer = create(self)
        wanted = json.loads(self.body)
        budget: Any = self.backend.budgets[wanted["AccountId"]][wanted["Budget"]["BudgetName"]]
        budget.mlops_tags = {tag["Key"]: tag["Value"] for tag in wanted.get("ResourceTags") or ()}
        return answer

    def tags(self: BudgetsResponse) -> dict[str, str]:
        _, _, _, _, account, resource = json.loads(self.body)["ResourceARN"].split(":", 5)
        budget: Any = self.backend.budgets[account].get(resource.removeprefix("budget/"))
        if budget is None:
            raise NotFoundException(f"Unable to find {resource}.")
        found: dict[str, str] = budget.mlops_tags
        return found

    def list_tags_for_resource(self: BudgetsResponse) -> str:
        return json.dumps(
            {"ResourceTags": [{"Key": key, "Value": value} for key, value in tags(self).items()]}
        )

    def tag_resource(self: BudgetsResponse) -> str:
        tags(self).update({tag["Key"]: tag["Value"] for tag in json.loads(self.body)["ResourceTags"]})
        return "{}"

    def untag_resource(self: BudgetsResponse) -> str:
        for key in json.loads(self.body)["ResourceTagKeys"]:
            tags(self).pop(key, None)
        return "{}"

    def describe_subscribers_for_notification(self: BudgetsResponse) -> str:
        wanted: dict[str, Any] = json.loads(self.body)
        budget = self.backend.budgets[wanted["AccountId"]].get(wanted["BudgetName"])
        for notification in budget.notifications if budget else ():
            if notification.details == wanted["Notification"]:
                return json.dumps({"Subscribers": notification.subscribers})
        raise NotFoundException("Unable to find the notification of this budget.")

    added = (
        create_budget,
        list_tags_for_resource,
        tag_resource,
        untag_resource,
        describe_subscribers_for_notification,
    )
    for operation in added:
        setattr(BudgetsResponse, operation.__name__, operation)


def _answer_rotation_periods() -> None:
    """How often a key is renewed is kept and answered, a year by default; moto knows only whether."""
    from moto.kms.responses import KmsResponse

    enable: Callable[..., str] = KmsResponse.enable_key_rotation
    status: Callable[..., str] = KmsResponse.get_key_rotation_status

    def enable_key_rotation(self: Any) -> str:
        answer, wanted = enable(self), json.loads(self.body)
        key = self.kms_backend.describe_key(wanted["KeyId"])
        key.mlops_rotation = wanted.get("RotationPeriodInDays", 365)
        return answer

    def get_key_rotation_status(self: Any) -> str:
        answer: dict[str, object] = json.loads(status(self))
        key: Any = self.kms_backend.describe_key(json.loads(self.body)["KeyId"])
        if answer["KeyRotationEnabled"]:
            answer["RotationPeriodInDays"] = key.mlops_rotation
        return json.dumps(answer | {"KeyId": key.id})

    KmsResponse.enable_key_rotation = enable_key_rotation  # type: ignore[method-assign]
    KmsResponse.get_key_rotation_status = get_key_rotation_status  # type: ignore[method-assign]


def _keep_newer_versions_of_lifecycles() -> None:
    """How many old versions a lifecycle rule leaves alone is kept and answered; moto drops it."""
    from moto.core.responses import ActionResult
    from moto.s3.models import FakeBucket
    from moto.s3.responses import S3Response

    change: Callable[..., None] = FakeBucket.set_lifecycle
    answer: Callable[..., Any] = S3Response.get_bucket_lifecycle
    member = "NewerNoncurrentVersions"

    def set_lifecycle(self: Any, rules: list[dict[str, Any]]) -> None:
        change(self, rules)
        for kept, wanted in zip(self.rules, rules, strict=True):
            kept.mlops_newer = (wanted.get("NoncurrentVersionExpiration") or {}).get(member)

    def get_bucket_lifecycle(self: Any) -> Any:
        whole, kept = self.serialized, self.backend.get_bucket_lifecycle(self.bucket_name) or []

        def serialized(result: ActionResult) -> Any:
            answered: Any = result.result  # an exception, where there are no rules
            for rule, its in zip(answered["Rules"] if kept else (), kept, strict=True):
                if its.mlops_newer:
                    rule["NoncurrentVersionExpiration"][member] = its.mlops_newer
            return whole(result)

        self.serialized = serialized
        return answer(self)

    FakeBucket.set_lifecycle = set_lifecycle  # type: ignore[method-assign]
    S3Response.get_bucket_lifecycle = get_bucket_lifecycle  # type: ignore[method-assign]


def _answer_whether_buckets_tell_eventbridge() -> None:
    """A bucket that sends its events to EventBridge answers so; moto sends them, and answers nothing."""
    from moto.core.responses import ActionResult
    from moto.s3.responses import S3Response

    answer: Callable[..., Any] = S3Response.get_bucket_notification

    def get_bucket_notification(self: Any) -> Any:
        kept = self.backend.get_bucket_notification_configuration(self.bucket_name)
        if kept is None or kept.event_bridge is None:
            return answer(self)
        whole = self.serialized

        def serialized(result: ActionResult) -> Any:
            answered: Any = result.result or {}
            return whole(ActionResult({**answered, "EventBridgeConfiguration": {}}))

        self.serialized = serialized
        return answer(self)

    S3Response.get_bucket_notification = get_bucket_notification  # type: ignore[method-assign]


def _write_conditionally_in_one_step() -> None:
    """Of many conditional writes at once one succeeds; moto looks first, and writes later."""
    from moto.s3.responses import S3Response

    put: Callable[..., Any] = S3Response.put_object
    one_at_a_time = threading.Lock()

    def put_object(self: Any) -> Any:
        if not {"If-Match", "If-None-Match"} & set(self.headers.keys()):
            return put(self)
        with one_at_a_time:
            return put(self)

    S3Response.put_object = put_object  # type: ignore[method-assign]


def _name_identity_providers_with_ports() -> None:
    """An identity provider whose URL has a port is answered with its scheme.

    AWS knows no ports in these URLs. Terraform's provider takes a URL without scheme for the one with it, but
    cannot read `127.0.0.1:4567` as a URL.
    """
    from moto.core.responses import ActionResult
    from moto.iam.responses import IamResponse

    def get_open_id_connect_provider(self: Any) -> ActionResult:
        arn = self._get_param("OpenIDConnectProviderArn")  # pylint: disable=protected-access
        found = copy(self.backend.get_open_id_connect_provider(arn))
        if ":" in found.url:
            found.url = f"https://{found.url}"
        return ActionResult(found)

    IamResponse.get_open_id_connect_provider = get_open_id_connect_provider  # type: ignore[method-assign]
