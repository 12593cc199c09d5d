variable "environment" {
  description = "The environment's name, such as dev, stage, prod or local."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}$", var.environment))
    error_message = "environment must be a letter, then at most 19 lower-case letters, digits and hyphens."
  }
}

variable "account_id" {
  description = "The AWS account of this environment; no other account is ever changed."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "account_id must have 12 digits."
  }
}

variable "region" {
  description = "The AWS region of this environment."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must be one such as eu-west-1."
  }
}

variable "name" {
  description = "What the names of all resources begin with. The mlops command reads /ml-ops/settings, so another name is for trials beside a real environment."
  type        = string
  default     = "ml-ops"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name must have 3 to 20 lower-case letters, digits and hyphens."
  }
}

variable "models" {
  description = "The models of each project, as models.auto.tfvars lists them."
  type        = map(set(string))
  nullable    = false

  validation {
    condition     = alltrue(flatten([for project, models in var.models : [for name in concat([project], tolist(models)) : can(regex("^[a-z0-9]+(-[a-z0-9]+)*$", name))]]))
    error_message = "Names of projects and models must be lower-case letters and digits with single hyphens between them."
  }

  # As versions.check_names() computes it: a SageMaker name must hold both and a version.
  validation {
    condition     = alltrue(flatten([for project, models in var.models : [for model in models : length(project) + length(model) <= 29]]))
    error_message = "The names of a project and its model may have 29 characters together."
  }
}

variable "extra_models" {
  description = "Models beside those of models.auto.tfvars, for this environment only."
  type        = map(set(string))
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue(flatten([for project, models in var.extra_models : [for name in concat([project], tolist(models)) : can(regex("^[a-z0-9]+(-[a-z0-9]+)*$", name))]]))
    error_message = "Names of projects and models must be lower-case letters and digits with single hyphens between them."
  }

  validation {
    condition     = alltrue(flatten([for project, models in var.extra_models : [for model in models : length(project) + length(model) <= 29]]))
    error_message = "The names of a project and its model may have 29 characters together."
  }
}

variable "airflow_environment" {
  description = "The name of the MWAA environment that runs the DAGs."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z][0-9A-Za-z_-]{0,79}$", var.airflow_environment))
    error_message = "airflow_environment must be a name MWAA allows."
  }
}

variable "dag_trigger_package" {
  description = "The path of the Lambda's zip."
  type        = string
  nullable    = false

  validation {
    condition     = fileexists(var.dag_trigger_package)
    error_message = "There is no such file; terraform/README.md says how to build it."
  }
}

variable "dag_trigger_concurrency" {
  description = "How many calls of the Lambda may run at once; null reserves none."
  type        = number
  default     = 5

  validation {
    condition     = var.dag_trigger_concurrency == null || try(var.dag_trigger_concurrency >= 1, false)
    error_message = "dag_trigger_concurrency must be 1 or more, or null."
  }
}

variable "email_addresses" {
  description = "Who gets every message by e-mail; each confirms by a click."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for address in var.email_addresses : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", address))])
    error_message = "Every entry must be an e-mail address."
  }
}

variable "log_retention_days" {
  description = "Days that logs are kept."
  type        = number
  default     = 90
  nullable    = false

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be a number of days CloudWatch Logs offers, such as 30, 90 or 365."
  }
}

variable "airflow_url" {
  description = "Where people open Airflow, for links to runs; empty leaves them out."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(https?://[^\\s]+)?$", var.airflow_url))
    error_message = "airflow_url must be an http or https URL."
  }
}

variable "log_group_url" {
  description = "Where a person finds the logs of jobs, with {group} and {stream}; null for CloudWatch's console."
  type        = string
  default     = null

  validation {
    condition     = var.log_group_url == null || try(strcontains(var.log_group_url, "{group}"), false)
    error_message = "log_group_url must hold {group}."
  }
}

variable "disposable" {
  description = "Whether destroying the environment may delete data, images and secrets with it."
  type        = bool
  default     = false
  nullable    = false
}

variable "quick" {
  description = "Whether to leave out the retention rules that the provider waits minutes for."
  type        = bool
  default     = false
  nullable    = false
}
