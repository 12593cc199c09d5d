variable "name" {
  description = "What the names of all parts begin with."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name must have 3 to 20 lower-case letters, digits and hyphens."
  }
}

variable "cidr" {
  description = "The block of IPv4 addresses. Every private subnet gets a quarter of it, for workers and endpoints."
  type        = string
  default     = "10.64.0.0/22"
  nullable    = false

  validation {
    condition     = try(cidrhost(var.cidr, 0) == split("/", var.cidr)[0] && tonumber(split("/", var.cidr)[1]) >= 16 && tonumber(split("/", var.cidr)[1]) <= 24, false)
    error_message = "cidr must be a block of IPv4 addresses from /16 to /24, such as 10.64.0.0/22."
  }
}

variable "zones" {
  description = "In how many availability zones there are subnets; MWAA uses two of them."
  type        = number
  default     = 2
  nullable    = false

  validation {
    condition     = var.zones >= 2 && var.zones <= 3 && floor(var.zones) == var.zones
    error_message = "zones must be 2 or 3."
  }
}

variable "nat" {
  description = "Whether the private subnets reach the internet, through one NAT gateway; the DAGs need it for Slack alone."
  type        = bool
  default     = false
  nullable    = false
}

variable "clients" {
  description = "Blocks of IPv4 addresses, such as the company's VPN, from which people open Airflow; how they reach this network is theirs."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for block in var.clients : can(cidrhost(block, 0)) && !endswith(block, "/0")])
    error_message = "Every entry must be a block of IPv4 addresses such as 10.0.0.0/8, and not everyone's."
  }
}

# https://docs.aws.amazon.com/mwaa/latest/userguide/vpc-vpe-create-access.html
variable "mwaa_endpoints" {
  description = "The services MWAA itself needs without internet, as PrivateLink names them. Each costs by the hour and zone: leave out what another network provides."
  type        = set(string)
  default     = ["airflow.api", "airflow.env", "airflow.ops", "ecr.api", "ecr.dkr", "kms", "logs", "monitoring", "sqs"]
  nullable    = false

  validation {
    condition     = alltrue([for service in var.mwaa_endpoints : can(regex("^[a-z][a-z0-9.-]+$", service)) && service != "s3"])
    error_message = "Every entry must be a service such as ecr.api; S3 has a gateway, which costs nothing."
  }
}

variable "dag_endpoints" {
  description = "The services our DAGs call; only this account may call them through these endpoints."
  type        = set(string)
  default     = ["sagemaker.api", "sagemaker.runtime", "secretsmanager", "sns", "ssm"]
  nullable    = false

  validation {
    condition     = alltrue([for service in var.dag_endpoints : can(regex("^[a-z][a-z0-9.-]+$", service)) && service != "s3"])
    error_message = "Every entry must be a service such as sagemaker.api; S3 has a gateway, which costs nothing."
  }
}

variable "bucket_names" {
  description = "The buckets that can be reached; every other is out of reach, apart from that of ECR's layers."
  type        = set(string)
  nullable    = false

  validation {
    condition     = length(var.bucket_names) > 0 && alltrue([for name in var.bucket_names : can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", name))])
    error_message = "Name at least one bucket."
  }
}

variable "permissions_boundary" {
  description = "The policy that bounds the role whatever its own policy says; null for none."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary == null || can(regex("^arn:[a-z-]+:iam::[0-9]{12}:policy/.+$", var.permissions_boundary))
    error_message = "permissions_boundary must be the ARN of a policy."
  }
}

variable "kms_key_arn" {
  description = "The KMS key that encrypts the flow logs; null for CloudWatch's own."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[0-9a-z-]+$", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a key."
  }
}

variable "log_retention_days" {
  description = "Days that flow logs are kept."
  type        = number
  default     = 365
  nullable    = false

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be a number of days CloudWatch Logs offers, such as 30, 90 or 365."
  }
}
