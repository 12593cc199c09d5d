"""SageMaker's model registry: groups of model packages, and their versions."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

from mlops_local.aws.sagemaker import objects
from mlops_local.aws.sagemaker.store import Parameters, Record, ResourceKind, Table, Tags
from mlops_local.aws.sdk import Sdk
from mlops_local.base.config import LocalAwsConfig
from mlops_local.base.wire import ServiceError

GROUP_KIND = ResourceKind(
    prefix="ModelPackageGroup",
    arn="model-package-group",
    summaries="ModelPackageGroupSummaryList",
    newest_first=False,
)
KIND = ResourceKind(
    prefix="ModelPackage", arn="model-package", summaries="ModelPackageSummaryList", newest_first=False
)

# Members of UpdateModelPackage that replace what was there.
_REPLACED = (
    "ModelApprovalStatus",
    "ApprovalDescription",
    "InferenceSpecification",
    "SourceUri",
    "ModelLifeCycle",
)
Changed = Callable[[Record], None]


class ModelPackages:
    """The model package groups of one account and their versions; there are no packages without a group.

    `changed` hears of each new state of a package, as EventBridge does.
    """

    def __init__(self, config: LocalAwsConfig, sdk: Sdk, tags: Tags, changed: Changed) -> None:
        self.groups = Table(config, GROUP_KIND, tags)
        self._table = Table(config, KIND, tags)
        self._sdk = sdk
        self._changed = changed
        self._who = {
            "IamIdentity": {
                "Arn": f"arn:aws:sts::{config.account}:assumed-role/local/local",
                "PrincipalId": "LOCAL",
            }
        }
        self._numbers: dict[str, itertools.count[int]] = {}
        self._tokens: dict[str, str] = {}
        self._lock = threading.Lock()

    def create_group(self, wanted: Parameters) -> Parameters:
        """CreateModelPackageGroup."""
        name = wanted["ModelPackageGroupName"]
        record = {key: value for key, value in wanted.items() if key != "Tags"}
        record |= {"CreatedBy": self._who, "ModelPackageGroupStatus": "Completed"}
        taken = ServiceError("ValidationException", f"Model Package Group already exists: {self._arn(name)}")
        arn = self.groups.add(name, record, wanted.get("Tags") or [], taken)
        with self._lock:
            self._numbers.setdefault(name, itertools.count(1))
        return {"ModelPackageGroupArn": arn}

    def restore_groups(self, kept: Any) -> None:
        """Have the groups of a snapshot, which has no versions."""
        self.groups.restore(kept)
        with self._lock:
            self._numbers = {name: itertools.count(1) for name in kept}

    def versions_exist(self) -> bool:
        """Whether any group has a version."""
        return bool(self._table.keep())

    def describe_group(self, wanted: Parameters) -> Record:
        """DescribeModelPackageGroup."""
        name = _last(wanted["ModelPackageGroupName"])
        record = self.groups.find(name)
        if record is None:
            raise ServiceError("ValidationException", f"ModelPackageGroup {self._arn(name)} does not exist.")
        return record

    def delete_group(self, wanted: Parameters) -> Parameters:
        """DeleteModelPackageGroup, once it is empty."""
        group = self.describe_group(wanted)
        if self._versions(group["ModelPackageGroupName"]):
            raise ServiceError(
                "ConflictException",
                f"Model Package Group {group['ModelPackageGroupArn']} cannot be deleted: "
                "it contains model packages.",
            )
        self.groups.remove(group["ModelPackageGroupName"])
        return {}

    def create(self, wanted: Parameters) -> Parameters:
        """CreateModelPackage of a version."""
        if "ModelPackageGroupName" not in wanted:
            raise ServiceError(
                "ValidationException", "Both ModelPackageName and GroupName are not specified."
            )
        if "ModelPackageName" in wanted:
            raise ServiceError(
                "ValidationException", "Both ModelPackageName and ModelPackageGroupName are specified."
            )
        if wanted.get("Tags"):
            raise ServiceError(
                "ValidationException", "Tags cannot be specified for a versioned model package."
            )
        group = self.describe_group(wanted)["ModelPackageGroupName"]
        for container in wanted.get("InferenceSpecification", {}).get("Containers", []):
            url = container.get("ModelDataUrl")
            if url and not objects.exists(self._sdk.s3, url):
                raise ServiceError("ValidationException", f"Could not find model data at {url}.")
        with self._lock:
            token = wanted.get("ClientToken")
            if token and token in self._tokens:
                return {"ModelPackageArn": self._tokens[token]}
            name = f"{group}/{next(self._numbers[group])}"
            arn = self._table.arn(name)
            if token:
                self._tokens[token] = arn
        record = {key: value for key, value in wanted.items() if key != "ClientToken"}
        record = {"ModelApprovalStatus": "PendingManualApproval", "CertifyForMarketplace": False} | record
        record |= {
            "ModelPackageGroupName": group,
            "ModelPackageVersion": int(name.rpartition("/")[2]),
            "ModelPackageStatus": "Completed",
            "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
            "CreatedBy": self._who,
        }
        self._table.add(name, record, [], ServiceError("ConflictException", f"{arn} exists"))
        self._changed(self._find(arn))
        return {"ModelPackageArn": arn}

    def describe(self, wanted: Parameters) -> Record:
        """DescribeModelPackage."""
        return self._find(wanted["ModelPackageName"])

    def update(self, wanted: Parameters) -> Parameters:
        """UpdateModelPackage."""
        record = self._find(wanted["ModelPackageArn"])
        metadata = dict(record.get("CustomerMetadataProperties") or {})
        metadata |= wanted.get("CustomerMetadataProperties") or {}
        for key in wanted.get("CustomerMetadataPropertiesToRemove") or []:
            metadata.pop(key, None)
        changes: dict[str, Any] = {key: wanted[key] for key in _REPLACED if key in wanted}
        self._table.change(
            _name(record),
            **changes,
            CustomerMetadataProperties=metadata or None,
            LastModifiedBy=self._who,
        )
        self._changed(self._find(wanted["ModelPackageArn"]))
        return {"ModelPackageArn": record["ModelPackageArn"]}

    def delete(self, wanted: Parameters) -> Parameters:
        """DeleteModelPackage."""
        record = self._find(wanted["ModelPackageName"])
        self._table.remove(_name(record))
        self._changed(record | {"ModelPackageStatus": "Deleting"})
        return {}

    def page(self, wanted: Parameters) -> Parameters:
        """ListModelPackages; those of one group where the request names one."""
        name, status = None, wanted.get("ModelApprovalStatus")
        if "ModelPackageGroupName" in wanted:
            name = self.describe_group(wanted)["ModelPackageGroupName"]
        page = self._table.page(
            wanted,
            lambda record: (
                name in (None, record["ModelPackageGroupName"])
                and status in (None, record["ModelApprovalStatus"])
            ),
        )
        for record in page[KIND.summaries]:
            del record["ModelPackageName"]
        return page

    def _versions(self, group: str) -> bool:
        return bool(self.page({"ModelPackageGroupName": group, "MaxResults": 1})[KIND.summaries])

    def _find(self, name: str) -> Record:
        key = name.partition(":model-package/")[2] or name
        record = self._table.find(key)
        if record is None:
            raise ServiceError("ValidationException", f"ModelPackage {self._table.arn(key)} does not exist.")
        # of a version, the name is that of its group
        return record | {"ModelPackageName": record["ModelPackageGroupName"]}

    def _arn(self, group: str) -> str:
        return self.groups.arn(group)


def event_detail(record: Record) -> Parameters:
    """What EventBridge's events say of a package; not its metadata.

    https://docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html
    """
    told = (
        "ModelPackageGroupName",
        "ModelPackageVersion",
        "ModelPackageArn",
        "ModelPackageDescription",
        "CreationTime",
        "InferenceSpecification",
        "ModelPackageStatus",
        "ModelPackageStatusDetails",
        "CertifyForMarketplace",
        "ModelApprovalStatus",
        "ModelMetrics",
        "LastModifiedTime",
    )
    found = {key: record[key] for key in told if key in record}
    return {
        key: value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else value
        for key, value in found.items()
    }


def _name(record: Record) -> str:
    return f"{record['ModelPackageGroupName']}/{record['ModelPackageVersion']}"


def _last(name: str) -> str:
    return name.rpartition("/")[2]
