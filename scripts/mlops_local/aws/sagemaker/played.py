"""Which fields of SageMaker's requests have their effect here. All others are refused by name.

A field that is accepted and not honoured would make a rehearsal green that is red in an account. So the lists
are closed: what botocore's next release adds is refused until it is played. A name stands for all below it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlops_local.base.wire import ServiceError

_PAGES = "NextToken MaxResults SortBy SortOrder NameContains CreationTimeAfter CreationTimeBefore "
_CHANGING = _PAGES + "LastModifiedTimeAfter LastModifiedTimeBefore StatusEquals"

PLAYED: Mapping[str, frozenset[str]] = {
    operation: frozenset(names.split())
    for operation, names in {
        "CreateTrainingJob": """
            TrainingJobName RoleArn HyperParameters Environment Tags
            AlgorithmSpecification.TrainingImage AlgorithmSpecification.TrainingInputMode
            AlgorithmSpecification.MetricDefinitions
            AlgorithmSpecification.ContainerEntrypoint AlgorithmSpecification.ContainerArguments
            InputDataConfig.ChannelName InputDataConfig.InputMode
            InputDataConfig.CompressionType InputDataConfig.RecordWrapperType
            InputDataConfig.DataSource.S3DataSource.S3DataType InputDataConfig.DataSource.S3DataSource.S3Uri
            InputDataConfig.DataSource.S3DataSource.S3DataDistributionType
            OutputDataConfig.S3OutputPath OutputDataConfig.CompressionType
            ResourceConfig.InstanceCount
            StoppingCondition.MaxRuntimeInSeconds
        """,
        "CreateProcessingJob": """
            ProcessingJobName RoleArn Environment Tags
            AppSpecification.ImageUri AppSpecification.ContainerEntrypoint AppSpecification.ContainerArguments
            ProcessingInputs.InputName ProcessingInputs.S3Input.S3Uri ProcessingInputs.S3Input.LocalPath
            ProcessingInputs.S3Input.S3DataType ProcessingInputs.S3Input.S3InputMode
            ProcessingInputs.S3Input.S3DataDistributionType ProcessingInputs.S3Input.S3CompressionType
            ProcessingOutputConfig.Outputs.OutputName ProcessingOutputConfig.Outputs.S3Output
            ProcessingResources.ClusterConfig.InstanceCount
            StoppingCondition.MaxRuntimeInSeconds
        """,
        "CreateModel": """
            ModelName ExecutionRoleArn Tags
            PrimaryContainer.Image PrimaryContainer.ModelDataUrl PrimaryContainer.Environment
            PrimaryContainer.Mode PrimaryContainer.ModelPackageName
            Containers.Image Containers.ModelDataUrl Containers.Environment
            Containers.Mode Containers.ModelPackageName
        """,
        "CreateEndpointConfig": """
            EndpointConfigName Tags
            ProductionVariants.VariantName ProductionVariants.ModelName
            ProductionVariants.InitialInstanceCount ProductionVariants.InitialVariantWeight
            ProductionVariants.ContainerStartupHealthCheckTimeoutInSeconds
            DataCaptureConfig.EnableCapture DataCaptureConfig.InitialSamplingPercentage
            DataCaptureConfig.DestinationS3Uri DataCaptureConfig.CaptureOptions
            DataCaptureConfig.CaptureContentTypeHeader
        """,
        "CreateEndpoint": "EndpointName EndpointConfigName Tags",
        "UpdateEndpoint": """
            EndpointName EndpointConfigName RetainAllVariantProperties ExcludeRetainedVariantProperties
        """,
        "UpdateEndpointWeightsAndCapacities": "EndpointName DesiredWeightsAndCapacities",
        "CreateModelPackageGroup": "ModelPackageGroupName ModelPackageGroupDescription Tags",
        "CreateModelPackage": """
            ModelPackageName ModelPackageGroupName ModelPackageDescription ModelApprovalStatus ClientToken Tags
            InferenceSpecification ModelMetrics CustomerMetadataProperties MetadataProperties SourceUri
        """,
        "UpdateModelPackage": """
            ModelPackageArn ModelApprovalStatus ApprovalDescription InferenceSpecification SourceUri
            CustomerMetadataProperties CustomerMetadataPropertiesToRemove
        """,
        "DescribeModelPackage": "ModelPackageName",
        "ListTrainingJobs": _CHANGING,
        "ListProcessingJobs": _CHANGING,
        "ListEndpoints": _CHANGING,
        "ListModels": _PAGES,
        "ListEndpointConfigs": _PAGES,
        "ListModelPackageGroups": _PAGES,
        "ListModelPackages": _PAGES + "ModelApprovalStatus ModelPackageGroupName ModelPackageType",
        "AddTags": "ResourceArn Tags",
        "ListTags": "ResourceArn NextToken MaxResults",
        "DeleteTags": "ResourceArn TagKeys",
        **{
            f"{verb}{kind}": f"{kind}Name"
            for kind, verbs in {
                "TrainingJob": ("Describe", "Stop"),
                "ProcessingJob": ("Describe", "Stop"),
                "Model": ("Describe", "Delete"),
                "EndpointConfig": ("Describe", "Delete"),
                "Endpoint": ("Describe", "Delete"),
                "ModelPackageGroup": ("Describe", "Delete"),
                "ModelPackage": ("Delete",),
            }.items()
            for verb in verbs
        },
    }.items()
}

KEPT: Mapping[str, frozenset[str]] = {
    operation: frozenset(names.split())
    for operation, names in {
        "CreateTrainingJob": """
            InputDataConfig.ContentType OutputDataConfig.KmsKeyId
            ResourceConfig.InstanceType ResourceConfig.VolumeSizeInGB ResourceConfig.VolumeKmsKeyId
            StoppingCondition.MaxWaitTimeInSeconds EnableManagedSpotTraining
            VpcConfig EnableNetworkIsolation EnableInterContainerTrafficEncryption
            ProfilerConfig.DisableProfiler
        """,
        "CreateProcessingJob": """
            ProcessingResources.ClusterConfig.InstanceType ProcessingResources.ClusterConfig.VolumeSizeInGB
            ProcessingResources.ClusterConfig.VolumeKmsKeyId ProcessingOutputConfig.KmsKeyId
            NetworkConfig
        """,
        "CreateModel": """
            VpcConfig EnableNetworkIsolation PrimaryContainer.ContainerHostname Containers.ContainerHostname
        """,
        "CreateEndpointConfig": """
            KmsKeyId ProductionVariants.InstanceType ProductionVariants.VolumeSizeInGB
            ProductionVariants.ModelDataDownloadTimeoutInSeconds DataCaptureConfig.KmsKeyId
        """,
    }.items()
}
"""What is kept, and shown by Describe, and means nothing on one machine: machines, disks, keys, networks."""

VALUES: Mapping[str, Mapping[str, frozenset[object]]] = {
    "CreateTrainingJob": {
        "AlgorithmSpecification.TrainingInputMode": frozenset({"File"}),
        "InputDataConfig.InputMode": frozenset({"File"}),
        "InputDataConfig.CompressionType": frozenset({"None"}),
        "InputDataConfig.RecordWrapperType": frozenset({"None"}),
        "InputDataConfig.DataSource.S3DataSource.S3DataType": frozenset({"S3Prefix"}),
        "InputDataConfig.DataSource.S3DataSource.S3DataDistributionType": frozenset({"FullyReplicated"}),
        "OutputDataConfig.CompressionType": frozenset({"GZIP"}),
        "ResourceConfig.InstanceCount": frozenset({1}),
    },
    "CreateProcessingJob": {
        "ProcessingInputs.S3Input.S3DataType": frozenset({"S3Prefix"}),
        "ProcessingInputs.S3Input.S3InputMode": frozenset({"File"}),
        "ProcessingInputs.S3Input.S3DataDistributionType": frozenset({"FullyReplicated"}),
        "ProcessingInputs.S3Input.S3CompressionType": frozenset({"None"}),
        "ProcessingOutputConfig.Outputs.S3Output.S3UploadMode": frozenset({"EndOfJob"}),
        "ProcessingResources.ClusterConfig.InstanceCount": frozenset({1}),
    },
    "CreateModel": {
        "PrimaryContainer.Mode": frozenset({"SingleModel"}),
        "Containers.Mode": frozenset({"SingleModel"}),
    },
    "ListModelPackages": {"ModelPackageType": frozenset({"Versioned"})},
}
"""Of some fields, the only values that are played."""

_WHERE = "docs/reference/local-aws.md lists what is played; leave it out here, or try it in an account."


def check(operation: str, parameters: Mapping[str, Any]) -> None:
    """Refuse what a request asks for and nobody here does.

    Args:
        operation: Such as CreateTrainingJob; one of `PLAYED`.
        parameters: Of the request, as `shapes.read` returns them. False, zero and what is empty ask for
            nothing.

    Raises:
        ServiceError: `ValidationException` that names every such field.
    """
    known = PLAYED[operation] | KEPT.get(operation, frozenset())
    values = VALUES.get(operation, {})
    refused = []
    for path, value in _leaves(parameters, ""):
        if not _covered(path, known):
            refused.append(path)
        elif path in values and value not in values[path]:
            allowed = " or ".join(map(str, sorted(values[path], key=str)))
            refused.append(f"{path} {value} (only {allowed})")
    if refused:
        raise refused_with(operation, ", ".join(dict.fromkeys(refused)))


def refused_with(operation: str, what: str) -> ServiceError:
    """The answer to an operation that is played, but not with this."""
    return ServiceError("ValidationException", f"{operation} is not played locally with {what}. {_WHERE}")


def refused_operation(service: str, operation: str) -> ServiceError:
    """The answer to an operation that nobody here does: a 400, which no SDK repeats."""
    return ServiceError(
        "UnknownOperationException",
        f"{service}:{operation} is not played locally: no part of the stack does that work. "
        "docs/reference/local-aws.md lists what is played.",
    )


def _covered(path: str, known: frozenset[str]) -> bool:
    names = path.split(".")
    return any(".".join(names[:length]) in known for length in range(1, len(names) + 1))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Each value with its names, without the places in lists; what is empty or False is left out."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, path)
    elif value not in (None, False, "", 0):
        yield path, value
