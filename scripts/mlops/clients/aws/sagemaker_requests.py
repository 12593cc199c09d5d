"""The requests we send to SageMaker for one model version. Pure functions.

Containers follow SageMaker's contract (`train`, `serve`), and one verb more: `evaluate`, a processing job.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from mlops.contracts.runs import Deployment, TrainingConf, canonical
from mlops.contracts.versions import RESOURCE_NAME_LIMIT, ModelVersion, endpoint_name, job_name, resource_name

Request = dict[str, Any]
VARIANT = "AllTraffic"

_MODEL = "/opt/ml/processing/model"
_TEST = "/opt/ml/processing/test"
_EVALUATION = "/opt/ml/processing/evaluation"


def environment(conf: TrainingConf, fingerprint: str) -> dict[str, str]:
    """What a container knows of itself; the served model repeats it in each answer."""
    channels = conf.training.channels
    return {
        "MLOPS_PROJECT": conf.project,
        "MLOPS_MODEL": conf.model,
        "MLOPS_MODEL_VERSION": conf.model_version,
        "MLOPS_IMAGE_VERSION": conf.image_version,
        "MLOPS_TRAINING_DATA": channels.get("train") or next(iter(channels.values()), ""),
        "MLOPS_DATA_FINGERPRINT": fingerprint,
    }


def tags(conf: TrainingConf) -> list[dict[str, str]]:
    """What every resource of a model version is found and billed by."""
    values = {
        "mlops:project": conf.project,
        "mlops:model": conf.model,
        "mlops:model-version": conf.model_version,
        "mlops:evidence-uri": conf.evidence_uri,
        "mlops:image-digest": conf.image_uri.rpartition("@")[2],
    }
    return [{"Key": key, "Value": value[:256]} for key, value in values.items()]


def training_job(  # pylint: disable=too-many-arguments
    conf: TrainingConf, *, role: str, fingerprint: str, run_id: str, attempt: int
) -> Request:
    """CreateTrainingJob; its artifact lands at `<evidence>/model/<job>/output/model.tar.gz`."""
    training = conf.training
    stopping = {"MaxRuntimeInSeconds": training.max_runtime_seconds}
    if training.spot:
        # Never below the run time:
        # https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_StoppingCondition.html
        stopping["MaxWaitTimeInSeconds"] = max(training.max_wait_seconds, training.max_runtime_seconds)
    return {
        "TrainingJobName": _job_name(conf, "train", run_id, attempt),
        "RoleArn": role,
        "AlgorithmSpecification": {"TrainingImage": conf.image_uri, "TrainingInputMode": "File"},
        "InputDataConfig": [
            {
                "ChannelName": name,
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri": uri,
                        "S3DataDistributionType": "FullyReplicated",
                    }
                },
            }
            for name, uri in training.channels.items()
        ],
        "OutputDataConfig": {"S3OutputPath": f"{conf.evidence_uri}model"},
        "ResourceConfig": {
            "InstanceType": training.instance_type,
            "InstanceCount": training.instance_count,
            "VolumeSizeInGB": training.volume_gb,
        },
        "StoppingCondition": stopping,
        "EnableManagedSpotTraining": training.spot,
        "HyperParameters": training.hyper_parameters,
        "Environment": environment(conf, fingerprint),
        "Tags": tags(conf),
    }


def model(conf: TrainingConf, *, role: str, fingerprint: str, artifact: str) -> Request:
    """CreateModel."""
    return {
        "ModelName": resource_name(conf.project, conf.model, ModelVersion.parse(conf.model_version)),
        "ExecutionRoleArn": role,
        "PrimaryContainer": {
            "Image": conf.image_uri,
            "ModelDataUrl": artifact,
            "Environment": environment(conf, fingerprint),
        },
        "Tags": tags(conf),
    }


def model_package(
    conf: TrainingConf, *, artifact: str, fingerprint: str, approval: str, metadata: Mapping[str, str]
) -> Request:
    """CreateModelPackage. It takes no tags: a package has those of its group.

    Args:
        conf: The training's.
        artifact: The S3 object of its model.tar.gz.
        fingerprint: Of its data.
        approval: `PendingManualApproval` or `Rejected`.
        metadata: What else the package is to know, at most 50 values of 1 to 256 characters.
    """
    inference: Request = {
        "Containers": [
            {
                "Image": conf.image_uri,
                "ModelDataUrl": artifact,
                "Environment": environment(conf, fingerprint),
            }
        ],
        "SupportedContentTypes": ["application/json"],
        "SupportedResponseMIMETypes": ["application/json"],
    }
    if conf.deployment is not None:
        inference["SupportedContentTypes"] = [conf.deployment.smoke_test.content_type]
        inference["SupportedRealtimeInferenceInstanceTypes"] = [conf.deployment.instance_type]
    return {
        "ModelPackageGroupName": endpoint_name(conf.project, conf.model),
        "ModelPackageDescription": package_description(conf.model, conf.model_version),
        "ModelApprovalStatus": approval,
        "InferenceSpecification": inference,
        "ModelMetrics": {
            "ModelQuality": {
                "Statistics": {
                    "ContentType": "application/json",
                    "S3Uri": f"{conf.evidence_uri}challenger/evaluation.json",
                }
            }
        },
        "CustomerMetadataProperties": {key: value for key, value in metadata.items() if value},
    }


def package_description(name: str, version: str) -> str:
    """What a version is found by in its group: lists of packages have it, and not their metadata."""
    return f"{name} {version}"


def evaluation_job(  # pylint: disable=too-many-arguments
    conf: TrainingConf,
    *,
    who: str,
    image_uri: str,
    artifact: str,
    variables: Mapping[str, str],
    role: str,
    run_id: str,
    attempt: int,
) -> Request:
    """CreateProcessingJob that writes `<evidence>/<who>/evaluation.json`; `who` is challenger or champion."""
    evaluation = conf.evaluation

    def channel(name: str, uri: str, path: str) -> Request:
        return {
            "InputName": name,
            "S3Input": {
                "S3Uri": uri,
                "LocalPath": path,
                "S3DataType": "S3Prefix",
                "S3InputMode": "File",
                "S3DataDistributionType": "FullyReplicated",
            },
        }

    return {
        "ProcessingJobName": _job_name(conf, f"evaluate-{who}", run_id, attempt),
        "RoleArn": role,
        "AppSpecification": {"ImageUri": image_uri, "ContainerArguments": ["evaluate"]},
        "ProcessingInputs": [channel("model", artifact, _MODEL), channel("test", evaluation.data, _TEST)],
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": "evaluation",
                    "S3Output": {
                        "S3Uri": f"{conf.evidence_uri}{who}",
                        "LocalPath": _EVALUATION,
                        "S3UploadMode": "EndOfJob",
                    },
                }
            ]
        },
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceCount": 1,
                "InstanceType": evaluation.instance_type,
                "VolumeSizeInGB": evaluation.volume_gb,
            }
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": evaluation.max_runtime_seconds},
        # A processing job's values may have 256 characters, fewer than a model's.
        "Environment": {name: value[:256] for name, value in variables.items()},
        "Tags": tags(conf),
    }


def endpoint_config(model_name: str, deployment: Deployment, tag_list: Sequence[Any]) -> Request:
    """CreateEndpointConfig, named as its model."""
    request: Request = {
        "EndpointConfigName": model_name,
        "ProductionVariants": [
            {
                "VariantName": VARIANT,
                "ModelName": model_name,
                "InstanceType": deployment.instance_type,
                "InitialInstanceCount": deployment.instance_count,
                "InitialVariantWeight": 1.0,
                "ContainerStartupHealthCheckTimeoutInSeconds": deployment.startup_timeout_seconds,
            }
        ],
        "Tags": list(tag_list),
    }
    if deployment.data_capture is not None:
        request["DataCaptureConfig"] = {
            "EnableCapture": True,
            "InitialSamplingPercentage": deployment.data_capture.sampling_percent,
            "DestinationS3Uri": deployment.data_capture.destination,
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            # What has another content type is kept in base64.
            "CaptureContentTypeHeader": {
                "CsvContentTypes": ["text/csv"],
                "JsonContentTypes": ["application/json", "application/jsonlines"],
            },
        }
    return request


def holds(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether SageMaker's description, which may say more, says what was asked for."""
    return all(found.get(key) == value for key, value in wanted.items())


def kept_instances(now: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> Any:
    """What UpdateEndpoint is to keep of the instances that serve now, as its arguments.

    Left to itself it begins with the configuration's own count, however far the endpoint was scaled. What it
    keeps is kept for a variant of the same name, and ours have one name:
    https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-scaling-update.html

    A count that the manifest changed is not kept, or the change would do nothing; nor is one of other
    machines, which was right for those. Nothing at all is kept when the capture of requests changes: whether
    the old capture would be kept as well is not documented (`DataCaptureConfig`: "Not currently supported").
    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_VariantProperty.html

    Args:
        now: The configuration that is served, as described; None when it was deleted.
        wanted: The one that is to be served, as requested or described.
    """
    exclude = ["DesiredWeight"]  # one variant has all the traffic
    if now is not None:
        capture, wanted_capture = now.get("DataCaptureConfig") or {}, wanted.get("DataCaptureConfig") or {}
        if bool(capture) != bool(wanted_capture) or not holds(capture, wanted_capture):
            return {"RetainAllVariantProperties": False}
        served, asked = now["ProductionVariants"][0], wanted["ProductionVariants"][0]
        if any(served.get(key) != asked.get(key) for key in ("InitialInstanceCount", "InstanceType")):
            exclude.append("DesiredInstanceCount")
    return {
        "RetainAllVariantProperties": True,
        "ExcludeRetainedVariantProperties": [{"VariantPropertyType": name} for name in exclude],
    }


def renamed(request: Request) -> Request:
    """The same configuration under a name made from its settings, for when the plain name is taken."""
    settings = {"variants": request["ProductionVariants"]}
    if "DataCaptureConfig" in request:
        settings["capture"] = request["DataCaptureConfig"]
    identity = hashlib.sha256(canonical(settings)).hexdigest()[:8]
    plain = str(request["EndpointConfigName"])[: RESOURCE_NAME_LIMIT - 9].rstrip("-")
    return {**request, "EndpointConfigName": f"{plain}-{identity}"}


def _job_name(conf: TrainingConf, step: str, run_id: str, attempt: int) -> str:
    return job_name(conf.project, conf.model, ModelVersion.parse(conf.model_version), step, run_id, attempt)
