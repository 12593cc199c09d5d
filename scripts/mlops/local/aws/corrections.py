"""Where moto 5.2 answers other than AWS does and Terraform, or every client after it, would notice.

As little as possible; `tests/contract/terraform/test_corrections.py` holds each to what AWS does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moto.iam.access_control import IAMPolicyStatement, PermissionResult


@cache
def install() -> None:
    """Correct moto in this process, once."""
    _keep_logging_config()
    _pass_over_plain_http()


def _pass_over_plain_http() -> None:
    """A statement that denies plain HTTP does not apply: loopback, where no TLS is needed, is all there is.

    moto knows no `aws:SecureTransport`, and takes a condition it does not know for a denial, so a bucket with
    such a policy would refuse everybody.
    """
    from moto.iam.access_control import IAMPolicyStatement, PermissionResult

    original: Callable[..., PermissionResult] = IAMPolicyStatement.is_action_permitted

    def is_action_permitted(self: IAMPolicyStatement, *args: Any, **kwargs: Any) -> PermissionResult:
        rule = self._statement  # pylint: disable=protected-access
        only_over_http = {"Bool": {"aws:SecureTransport": "false"}}
        if rule.get("Effect") == "Deny" and rule.get("Condition") == only_over_http:
            return PermissionResult.NEUTRAL
        return original(self, *args, **kwargs)

    IAMPolicyStatement.is_action_permitted = is_action_permitted  # type: ignore[method-assign]


def _keep_logging_config() -> None:
    """A function's LoggingConfig is kept and answered; moto drops it."""
    from moto.awslambda.models import LambdaFunction

    create: Callable[..., None] = LambdaFunction.__init__
    answer: Callable[..., dict[str, Any]] = LambdaFunction.get_configuration
    update: Callable[..., dict[str, Any]] = LambdaFunction.update_configuration

    def keep(self: Any, wanted: dict[str, Any]) -> None:
        self.mlops_logging = {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{self.function_name}"} | wanted
        self.logs_group_name = self.mlops_logging["LogGroup"]

    def created(self: Any, account_id: str, spec: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        create(self, account_id, spec, *args, **kwargs)
        keep(self, spec.get("LoggingConfig") or {})

    def get_configuration(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return answer(self, *args, **kwargs) | {"LoggingConfig": self.mlops_logging}

    def update_configuration(self: Any, config_updates: dict[str, Any]) -> dict[str, Any]:
        if config_updates.get("LoggingConfig"):
            keep(self, config_updates["LoggingConfig"])
        return update(self, config_updates)

    LambdaFunction.__init__ = created  # type: ignore[method-assign]
    LambdaFunction.get_configuration = get_configuration  # type: ignore[method-assign]
    LambdaFunction.update_configuration = update_configuration  # type: ignore[method-assign]
