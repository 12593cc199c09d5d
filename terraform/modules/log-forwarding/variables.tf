variable "name" {
  description = "What the names of filters, streams and roles begin with."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name must have 3 to 20 lower-case letters, digits and hyphens."
  }
}

variable "log_destination_arn" {
  description = "The Firehose stream, Kinesis stream, Lambda or log destination that gets the logs; null forwards none."
  type        = string
  default     = null

  validation {
    condition     = var.log_destination_arn == null || can(regex("^arn:[a-z-]+:(firehose|kinesis|lambda|logs):[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9:/_-]+$", var.log_destination_arn))
    error_message = "log_destination_arn must be the ARN of a Firehose or Kinesis stream, a Lambda or a log destination."
  }
}

variable "log_groups" {
  description = "The log groups to forward; each must be there, and a group takes two filters at most."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for group in values(var.log_groups) : can(regex("^[A-Za-z0-9_./#-]{1,512}$", group))])
    error_message = "Every value must be the name of a log group."
  }
}

variable "metric_destination_arn" {
  description = "The Firehose stream that gets the metrics; null forwards none. Not that of the logs: the two differ in form."
  type        = string
  default     = null

  validation {
    condition     = var.metric_destination_arn == null || can(regex("^arn:[a-z-]+:firehose:[a-z0-9-]+:[0-9]{12}:deliverystream/[A-Za-z0-9_.-]+$", var.metric_destination_arn))
    error_message = "metric_destination_arn must be the ARN of a Firehose stream."
  }

  validation {
    condition     = var.metric_destination_arn == null || var.metric_destination_arn != var.log_destination_arn
    error_message = "metric_destination_arn must be another stream than log_destination_arn: logs come compressed, metrics as lines of JSON."
  }
}

variable "metric_format" {
  description = "How metrics are written: json, opentelemetry0.7 or opentelemetry1.0."
  type        = string
  default     = "json"
  nullable    = false

  validation {
    condition     = contains(["json", "opentelemetry0.7", "opentelemetry1.0"], var.metric_format)
    error_message = "metric_format must be json, opentelemetry0.7 or opentelemetry1.0."
  }
}

variable "metric_namespaces" {
  description = "The CloudWatch namespaces whose metrics are forwarded."
  type        = set(string)
  default = [
    "/aws/sagemaker/Endpoints",
    "/aws/sagemaker/ProcessingJobs",
    "/aws/sagemaker/TrainingJobs",
    "AWS/Lambda",
    "AWS/MWAA",
    "AWS/SageMaker",
    "AWS/SQS",
    "AmazonMWAA",
    "ml-ops/models",
  ]
  nullable = false

  validation {
    condition     = length(var.metric_namespaces) > 0 && alltrue([for name in var.metric_namespaces : can(regex("^[^*?]{1,255}$", name))])
    error_message = "Name at least one namespace, each without wildcards."
  }
}

variable "permissions_boundary" {
  description = "The ARN of the policy that bounds every role made here; null leaves them to their own policies."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary == null || can(regex("^arn:[a-z-]+:iam::[0-9]{12}:policy/[A-Za-z0-9/_+=,.@-]+$", var.permissions_boundary))
    error_message = "permissions_boundary must be the ARN of a policy."
  }
}
