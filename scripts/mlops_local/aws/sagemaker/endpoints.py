"""Endpoints and their configurations.

An update brings up a second fleet and keeps the first one serving until the second answers. When it never
does, the endpoint rolls back: it is `InService` again, with the old configuration and a FailureReason.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from mlops_local.aws.sagemaker.fleets import Fleet, FleetError, Fleets
from mlops_local.aws.sagemaker.jobs import TEXT_LIMIT
from mlops_local.aws.sagemaker.models import Models
from mlops_local.aws.sagemaker.store import Parameters, Record, ResourceKind, Table, Tags, not_found
from mlops_local.base.config import LocalAwsConfig
from mlops_local.base.wire import ServiceError

CONFIG_KIND = ResourceKind(prefix="EndpointConfig", arn="endpoint-config", summaries="EndpointConfigs")
KIND = ResourceKind(prefix="Endpoint", arn="endpoint", status="EndpointStatus", summaries="Endpoints")

# A container has to answer within this time.
REQUEST_SECONDS = 60.0
_SCALING_SECONDS = 0.5
_BUSY = ("Creating", "Updating", "RollingBack", "Deleting")


class EndpointConfigs:
    """The endpoint configurations of one account."""

    def __init__(self, config: LocalAwsConfig, models: Models, tags: Tags) -> None:
        self.table = Table(config, CONFIG_KIND, tags)
        self._models = models

    def create(self, wanted: Parameters) -> Parameters:
        """CreateEndpointConfig."""
        name = wanted["EndpointConfigName"]
        names = [variant["VariantName"] for variant in wanted["ProductionVariants"]]
        if len(set(names)) != len(names):
            raise ServiceError(
                "ValidationException", "Variant names must be unique within an endpoint config."
            )
        for variant in wanted["ProductionVariants"]:
            if "ModelName" not in variant:
                raise ServiceError("ValidationException", "ModelName must be specified for each variant.")
            self._models.describe(variant)
        record = {key: value for key, value in wanted.items() if key != "Tags"}
        taken = ServiceError(
            "ValidationException",
            f'Cannot create already existing endpoint configuration "{self.table.arn(name)}".',
        )
        return {"EndpointConfigArn": self.table.add(name, record, wanted.get("Tags") or [], taken)}

    def describe(self, wanted: Parameters) -> Record:
        """DescribeEndpointConfig."""
        record = self.table.find(wanted["EndpointConfigName"])
        if record is None:
            raise not_found("endpoint configuration", self.table.arn(wanted["EndpointConfigName"]))
        return record

    def delete(self, wanted: Parameters) -> Parameters:
        """DeleteEndpointConfig."""
        if not self.table.remove(wanted["EndpointConfigName"]):
            raise not_found("endpoint configuration", self.table.arn(wanted["EndpointConfigName"]))
        return {}


class Endpoints:
    """The endpoints of one account, and what serves them."""

    def __init__(self, config: LocalAwsConfig, fleets: Fleets, configs: EndpointConfigs, tags: Tags) -> None:
        self.table = Table(config, KIND, tags)
        self._configs = configs
        self._fleets = fleets
        self._serving: dict[str, Fleet] = {}
        self._lock = threading.Condition()
        # By the fleet's identity: how many requests it is answering.
        self._open: Counter[int] = Counter()

    def fleet(self, name: str) -> Fleet | None:
        """What answers requests to an endpoint now."""
        with self._lock:
            return self._serving.get(name)

    @contextmanager
    def answering(self, name: str) -> Iterator[Fleet | None]:
        """What answers a request; it is not stopped before the request has its answer."""
        with self._lock:
            fleet = self._serving.get(name)
            self._open[id(fleet)] += 1
        try:
            yield fleet
        finally:
            with self._lock:
                self._open[id(fleet)] -= 1
                self._lock.notify_all()

    def create(self, wanted: Parameters) -> Parameters:
        """CreateEndpoint."""
        name = wanted["EndpointName"]
        settings = self._configs.describe(wanted)
        record = {
            "EndpointConfigName": wanted["EndpointConfigName"],
            "EndpointStatus": "Creating",
            "LastDeploymentConfig": wanted.get("DeploymentConfig"),
        }
        taken = ServiceError(
            "ValidationException", f'Cannot create already existing endpoint "{self.table.arn(name)}".'
        )
        arn = self.table.add(name, record, wanted.get("Tags") or [], taken)
        self._deploy(name, settings)
        return {"EndpointArn": arn}

    def update(self, wanted: Parameters) -> Parameters:
        """UpdateEndpoint."""
        name = wanted["EndpointName"]
        record = self._find(name)
        settings = self._configs.describe(wanted)
        if record["EndpointStatus"] == "Failed":
            raise ServiceError(
                "ValidationException",
                f'Cannot update endpoint "{self.table.arn(name)}" in status Failed; it can only be deleted.',
            )
        retained = _retained(wanted)
        pending = {"EndpointConfigName": wanted["EndpointConfigName"]}
        changed = self.table.change_if(
            name,
            lambda now: now["EndpointStatus"] not in _BUSY,
            EndpointStatus="Updating",
            FailureReason=None,
            PendingDeploymentSummary=pending,
            LastDeploymentConfig=wanted.get("DeploymentConfig"),
        )
        if not changed:
            raise _in_progress(self.table.arn(name))
        self._deploy(name, settings, retained)
        return {"EndpointArn": self.table.arn(name)}

    def scale(self, wanted: Parameters) -> Parameters:
        """UpdateEndpointWeightsAndCapacities.

        The endpoint is `Updating` until it is done, here for a moment only: nothing has to start.
        https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_UpdateEndpointWeightsAndCapacities.html

        A name that comes twice or is not served is refused in moto's words (moto/sagemaker/models.py).
        """
        name = wanted["EndpointName"]
        changes: dict[str, Parameters] = {}
        record = self._find(name)
        fleet = self.fleet(name)
        if fleet is None and record["EndpointStatus"] in _BUSY:
            raise _in_progress(self.table.arn(name))
        if fleet is None:
            raise ServiceError(
                "ValidationException",
                f'Cannot update endpoint "{self.table.arn(name)}" in status {record["EndpointStatus"]}.',
            )
        served = {variant.name for variant in fleet.variants}
        for change in wanted["DesiredWeightsAndCapacities"]:
            variant = change["VariantName"]
            if variant in changes:
                raise ServiceError(
                    "ValidationException", f'The variant name "{variant}" was non-unique within the request.'
                )
            if variant not in served:
                raise ServiceError(
                    "ValidationException",
                    f'The variant name(s) "{variant}" is/are not present within endpoint configuration '
                    f'"{fleet.config_name}".',
                )
            if "ServerlessUpdateConfig" in change:
                raise ServiceError("ValidationException", f'The variant "{variant}" is not serverless.')
            changes[variant] = change
        idle = self.table.change_if(
            name, lambda now: now["EndpointStatus"] == "InService", EndpointStatus="Updating"
        )
        if not idle:
            raise _in_progress(self.table.arn(name))

        def become() -> None:
            time.sleep(_SCALING_SECONDS)
            with self._lock:
                for one in fleet.variants:
                    change = changes.get(one.name, {})
                    one.count = change.get("DesiredInstanceCount", one.count)
                    one.weight = change.get("DesiredWeight", one.weight)
            self.table.change(name, EndpointStatus="InService")

        threading.Thread(target=become, name=f"scale {name}", daemon=True).start()
        return {"EndpointArn": self.table.arn(name)}

    def describe(self, wanted: Parameters) -> Record:
        """DescribeEndpoint."""
        record = self._find(wanted["EndpointName"])
        fleet = self.fleet(wanted["EndpointName"])
        if fleet is not None:
            record["ProductionVariants"] = [variant.summary() for variant in fleet.variants]
            captures = [variant.capture for variant in fleet.variants if variant.capture is not None]
            if captures:
                record["DataCaptureConfig"] = captures[0].summary()
        return record

    def delete(self, wanted: Parameters) -> Parameters:
        """DeleteEndpoint; it is gone once its containers are."""
        name = wanted["EndpointName"]
        self._find(name)
        idle = self.table.change_if(
            name, lambda now: now["EndpointStatus"] not in _BUSY, EndpointStatus="Deleting"
        )
        if not idle:
            raise _in_progress(self.table.arn(name))

        def remove() -> None:
            with self._lock:
                fleet = self._serving.pop(name, None)
            if fleet is not None:
                self._retire(fleet)
            self.table.remove(name)

        threading.Thread(target=remove, name=f"delete {name}", daemon=True).start()
        return {}

    def _find(self, name: str) -> Record:
        record = self.table.find(name)
        if record is None:
            raise not_found("endpoint", self.table.arn(name))
        return record

    def _deploy(self, name: str, settings: Record, retained: frozenset[str] = frozenset()) -> None:
        threading.Thread(
            target=self._roll_out, args=(name, settings, retained), name=f"deploy {name}", daemon=True
        ).start()

    def _roll_out(self, name: str, settings: Record, retained: frozenset[str]) -> None:
        try:
            fleet = self._fleets.start(name, settings)
        except Exception as error:  # pylint: disable=broad-exception-caught  # the state must not say Updating for ever
            self._roll_back(
                name, str(error) if isinstance(error, FleetError) else f"InternalFailure: {error!r}"
            )
            if not isinstance(error, FleetError):
                raise
            return
        with self._lock:
            old = self._serving.get(name)
            before = {variant.name: variant for variant in old.variants} if old else {}
            for variant in fleet.variants:
                if variant.name in before and "DesiredInstanceCount" in retained:
                    variant.count = before[variant.name].count
                if variant.name in before and "DesiredWeight" in retained:
                    variant.weight = before[variant.name].weight
            self._serving[name] = fleet
        self.table.change(
            name,
            EndpointConfigName=fleet.config_name,
            EndpointStatus="InService",
            PendingDeploymentSummary=None,
        )
        if old is not None:
            self._retire(old)

    def _retire(self, fleet: Fleet) -> None:
        with self._lock:
            self._lock.wait_for(lambda: not self._open[id(fleet)], REQUEST_SECONDS)
        fleet.stop()

    def _roll_back(self, name: str, reason: str) -> None:
        reason = reason[:TEXT_LIMIT]
        if self.fleet(name) is None:
            self.table.change(name, EndpointStatus="Failed", FailureReason=reason)
            return
        self.table.change(name, EndpointStatus="RollingBack", FailureReason=reason)
        self.table.change(name, EndpointStatus="InService", PendingDeploymentSummary=None)


def _retained(wanted: Parameters) -> frozenset[str]:
    """Which properties of a variant outlive an update, for the variant of the same name.

    Without RetainAllVariantProperties none does; with it all but those that are excluded:
    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_UpdateEndpoint.html
    https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-scaling-update.html

    `DataCaptureConfig` is an allowed value that AWS calls "not currently supported" and says no more of. It
    is refused, so that nothing relies on it:
    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_VariantProperty.html
    """
    excluded = {one["VariantPropertyType"] for one in wanted.get("ExcludeRetainedVariantProperties") or []}
    if "DataCaptureConfig" in excluded:
        raise ServiceError("ValidationException", "VariantPropertyType DataCaptureConfig is not supported.")
    if not wanted.get("RetainAllVariantProperties"):
        return frozenset()
    return frozenset({"DesiredInstanceCount", "DesiredWeight"} - excluded)


def _in_progress(arn: str) -> ServiceError:
    return ServiceError("ValidationException", f'Cannot update in-progress endpoint "{arn}".')
