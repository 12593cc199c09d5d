"""What AWS publishes in CloudWatch, as far as we show it: namespace, metric, dimensions, and where AWS says so."""

from __future__ import annotations

_SAGEMAKER = "https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html"
_AIRFLOW = "https://docs.aws.amazon.com/mwaa/latest/userguide/access-metrics-cw.html"
_LAMBDA = "https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html"
_SQS = "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html"

_VARIANT = frozenset({"EndpointName", "VariantName"})
_FUNCTION = frozenset({"Function", "Environment"})

# (source, namespace, dimensions): metrics
_TABLE = {
    (_SAGEMAKER, "AWS/SageMaker", _VARIANT): {
        "Invocation4XXErrors",
        "Invocation5XXErrors",
        "InvocationModelErrors",
        "Invocations",
        "InvocationsPerInstance",
        "ModelLatency",
        "OverheadLatency",
    },
    (_SAGEMAKER, "/aws/sagemaker/Endpoints", _VARIANT): {
        "CPUUtilization",
        "DiskUtilization",
        "GPUMemoryUtilization",
        "GPUUtilization",
        "MemoryUtilization",
    },
    (_SAGEMAKER, "/aws/sagemaker/TrainingJobs", frozenset({"Host"})): {"CPUUtilization", "MemoryUtilization"},
    (_SAGEMAKER, "/aws/sagemaker/ProcessingJobs", frozenset({"Host"})): {
        "CPUUtilization",
        "MemoryUtilization",
    },
    # Airflow's own metrics carry the environment beside the dimensions of that page:
    # https://docs.aws.amazon.com/mwaa/latest/userguide/monitoring-dashboard.html
    (_AIRFLOW, "AmazonMWAA", _FUNCTION): {
        "ImportErrors",
        "QueuedTasks",
        "RunningTasks",
        "SchedulerHeartbeat",
        "TotalParseTime",
    },
    (_AIRFLOW, "AmazonMWAA", frozenset({"DAG", "Environment"})): {"DAGDurationFailed", "DAGDurationSuccess"},
    (_LAMBDA, "AWS/Lambda", frozenset({"FunctionName"})): {
        "ConcurrentExecutions",
        "Duration",
        "Errors",
        "Invocations",
        "Throttles",
    },
    (_SQS, "AWS/SQS", frozenset({"QueueName"})): {
        "ApproximateAgeOfOldestMessage",
        "ApproximateNumberOfMessagesVisible",
    },
}

# What the value of `Function` is for each of Airflow's metrics.
AIRFLOW_FUNCTIONS = {
    "ImportErrors": "DAG Processing",
    "QueuedTasks": "Executor",
    "RunningTasks": "Executor",
    "SchedulerHeartbeat": "Scheduler",
    "TotalParseTime": "DAG Processing",
}

# Percentiles are offered for these only, by the pages above.
WITH_PERCENTILES = {("AWS/SageMaker", "ModelLatency"), ("AWS/Lambda", "Duration")}

Metric = tuple[str, str, frozenset[str]]

PUBLISHED: set[Metric] = {
    (namespace, metric, dimensions)
    for (_, namespace, dimensions), metrics in _TABLE.items()
    for metric in metrics
}
