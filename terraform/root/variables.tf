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
  description = "The models of each project, as models.auto.tfvars lists them, each with the GitLab project that may build, train and deploy it."
  type        = map(map(string))
  nullable    = false

  validation {
    condition     = alltrue(flatten([for project, models in var.models : [for name in concat([project], keys(models)) : can(regex("^[a-z0-9]+(-[a-z0-9]+)*$", name))]]))
    error_message = "Names of projects and models must be lower-case letters and digits with single hyphens between them."
  }

  # As versions.check_names() computes it: a SageMaker name must hold both and a version.
  validation {
    condition     = alltrue(flatten([for project, models in var.models : [for model in keys(models) : length(project) + length(model) <= 29]]))
    error_message = "The names of a project and its model may have 29 characters together."
  }

  # A wildcard here would let other projects take the roles.
  validation {
    condition     = alltrue(flatten([for models in values(var.models) : [for path in values(models) : can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+$", path))]]))
    error_message = "Every GitLab project must be a path such as group/project."
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
  description = "The name of the MWAA environment that runs the DAGs; null for the one made of name and environment."
  type        = string
  default     = null

  validation {
    condition     = var.airflow_environment == null || can(regex("^[A-Za-z][0-9A-Za-z_-]{0,79}$", var.airflow_environment))
    error_message = "airflow_environment must be a name MWAA allows."
  }
}

variable "airflow" {
  description = "The MWAA environment to create; null if one is there, which airflow_environment names."
  type = object({
    version           = optional(string, "3.2.1")
    class             = optional(string, "mw1.small")
    min_workers       = optional(number, 1)
    max_workers       = optional(number, 4)
    maintenance_start = optional(string, "SUN:03:30")
    check_interval    = optional(number, 10)
  })
  default = null

  validation {
    condition     = var.airflow == null || can(regex("^mw1\\.(micro|small|medium|large|xlarge|2xlarge)$", var.airflow.class))
    error_message = "airflow.class must be mw1.micro, small, medium, large, xlarge or 2xlarge."
  }

  validation {
    condition     = var.airflow == null || try(var.airflow.min_workers >= 1 && var.airflow.min_workers <= var.airflow.max_workers && var.airflow.max_workers <= 25, false)
    error_message = "airflow.min_workers and max_workers must be 1 to 25, in this order."
  }

  # In seconds.
  validation {
    condition     = var.airflow == null || try(var.airflow.check_interval >= 5 && var.airflow.check_interval <= 300, false)
    error_message = "airflow.check_interval must be 5 to 300 seconds."
  }

  # AWS refuses the others: https://docs.aws.amazon.com/mwaa/latest/userguide/airflow-versions.html
  validation {
    condition     = var.airflow == null || try(contains(["3.2.1"], var.airflow.version), false)
    error_message = "airflow.version must be one that MWAA offers and the package is locked to: 3.2.1."
  }

  validation {
    condition     = var.airflow == null || can(regex("^(MON|TUE|WED|THU|FRI|SAT|SUN):([01][0-9]|2[0-3]):[03]0$", var.airflow.maintenance_start))
    error_message = "airflow.maintenance_start must be a day and a half hour, such as SUN:03:30."
  }
}

variable "airflow_package" {
  description = "The folder that scripts/mlops/platform/airflow_package.py builds: dags/, plugins.zip and requirements.txt; needed where airflow is set."
  type        = string
  default     = null

  validation {
    condition     = var.airflow_package == null || try(fileexists("${var.airflow_package}/requirements.txt"), false)
    error_message = "There is no requirements.txt in that folder; mlops terraform plan builds it."
  }

  validation {
    condition     = var.airflow == null || var.airflow_package != null
    error_message = "airflow needs airflow_package; mlops terraform plan builds it."
  }
}

variable "network" {
  description = "The private network of the MWAA environment: a /16 to /24 block, the number of its availability zones, whether it reaches the internet, and from which blocks people open Airflow."
  type = object({
    cidr    = optional(string, "10.64.0.0/22")
    zones   = optional(number, 2)
    nat     = optional(bool, false)
    clients = optional(set(string), [])
  })
  default  = {}
  nullable = false

  validation {
    condition     = try(cidrhost(var.network.cidr, 0) != "" && tonumber(split("/", var.network.cidr)[1]) >= 16 && tonumber(split("/", var.network.cidr)[1]) <= 24, false)
    error_message = "network.cidr must be a block of IPv4 addresses from /16 to /24."
  }

  # MWAA wants two subnets in two zones: https://docs.aws.amazon.com/mwaa/latest/userguide/networking-about.html
  validation {
    condition     = var.network.zones >= 2 && var.network.zones <= 3
    error_message = "network.zones must be 2 or 3."
  }
}

variable "gitlab" {
  description = "The GitLab whose jobs take this environment's roles; null makes no roles for it. The audience is url unless given, and jobs of models have /build, /train or /deploy after it; shared_audience lets those roles be taken without that, as templates of the release before ask for them; merge_requests lets branches that are not protected build and train here; downstream_project runs pipelines that model repositories start in it; deployment_tier is that of the protected GitLab environments that deploy, where `sub` names it."
  type = object({
    url              = string
    audience         = optional(string)
    shared_audience  = optional(bool, false)
    platform_project = string
    protected_branch = optional(string, "main")
    merge_requests   = optional(bool, false)
    deployment_tier  = optional(string)

    downstream_project = optional(string)
  })
  default = null

  validation {
    condition     = var.gitlab == null || can(regex("^https?://[^/\\s]+(/[^/\\s]+)*$", var.gitlab.url))
    error_message = "gitlab.url must be a URL without a slash at its end: AWS compares it letter by letter."
  }

  validation {
    condition     = var.gitlab == null || can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+$", var.gitlab.platform_project))
    error_message = "gitlab.platform_project must be the path of this repository's project, such as platform/ml-ops."
  }

  validation {
    condition     = var.gitlab == null || can(regex("^[A-Za-z0-9_][A-Za-z0-9_./-]*$", var.gitlab.protected_branch))
    error_message = "gitlab.protected_branch must be the name of one branch."
  }
}

variable "budget" {
  description = "What the environment may cost in a month, in US dollars, and who hears of it beside email_addresses; null watches no costs."
  type = object({
    monthly_usd     = number
    email_addresses = optional(set(string), [])
  })
  default = null

  validation {
    condition     = var.budget == null || try(var.budget.monthly_usd > 0, false)
    error_message = "budget.monthly_usd must be more than 0."
  }
}

variable "log_destination_arn" {
  description = "The Firehose stream, Kinesis stream or Lambda that a second monitoring system reads logs from; null forwards none."
  type        = string
  default     = null

  validation {
    condition     = var.log_destination_arn == null || can(regex("^arn:[a-z-]+:(firehose|kinesis|lambda|logs):[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9:/_-]+$", var.log_destination_arn))
    error_message = "log_destination_arn must be the ARN of a Firehose or Kinesis stream, a Lambda or a log destination."
  }
}

variable "metric_destination_arn" {
  description = "The Firehose stream that a second monitoring system reads metrics from, another than that of the logs; null forwards none."
  type        = string
  default     = null

  validation {
    condition     = var.metric_destination_arn == null || can(regex("^arn:[a-z-]+:firehose:[a-z0-9-]+:[0-9]{12}:deliverystream/[A-Za-z0-9_.-]+$", var.metric_destination_arn))
    error_message = "metric_destination_arn must be the ARN of a Firehose stream."
  }
}

variable "dag_trigger_package" {
  description = "The path of the Lambda's zip."
  type        = string
  nullable    = false

  validation {
    condition     = fileexists(var.dag_trigger_package)
    error_message = "There is no such file; mlops terraform plan builds it."
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

variable "data_window_seconds" {
  description = "Within how many seconds all new training data of a model is one question whether it is due, asked when they are over."
  type        = number
  default     = 3600
  nullable    = false

  validation {
    condition     = var.data_window_seconds >= 1 && var.data_window_seconds <= 86400 && floor(var.data_window_seconds) == var.data_window_seconds
    error_message = "data_window_seconds must be a whole number, 1 to 86400."
  }
}

variable "training_data" {
  description = "Which models train on what arrives below a prefix of the bucket, where it is not data/<project>/<model>/: by prefix, such as data/shared/, the models as project/model."
  type        = map(list(string))
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for prefix, models in var.training_data : can(regex("^data/([A-Za-z0-9._-]+/)+$", prefix)) && length(models) > 0])
    error_message = "Every prefix of training_data must be below data/, end with a slash, and have a model."
  }

  validation {
    condition     = alltrue(flatten([for models in values(var.training_data) : [for model in models : can(regex("^[a-z0-9]+(-[a-z0-9]+)*/[a-z0-9]+(-[a-z0-9]+)*$", model))]]))
    error_message = "Every model of training_data must be <project>/<model>."
  }

  # Lambda takes 4 KB of environment.
  validation {
    condition     = length(jsonencode(var.training_data)) <= 3000
    error_message = "training_data is too long for the function: let the prefixes name their models instead."
  }
}

variable "monitoring_schedule" {
  description = "How often each model's endpoint is compared with its baseline, as rate(1 day) or cron(0 3 * * ? *); null for never."
  type        = string
  default     = "rate(1 day)"

  validation {
    condition     = var.monitoring_schedule == null || can(regex("^(rate|cron)\\([^()]+\\)$", var.monitoring_schedule))
    error_message = "monitoring_schedule must be a rate(...) or cron(...) of EventBridge."
  }
}

variable "retraining_schedule" {
  description = "How often each model is asked whether it is due, beside the GitLab schedules that run mlops retrain; null for never."
  type        = string
  default     = null

  validation {
    condition     = var.retraining_schedule == null || can(regex("^(rate|cron)\\([^()]+\\)$", var.retraining_schedule))
    error_message = "retraining_schedule must be a rate(...) or cron(...) of EventBridge."
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

variable "channels" {
  description = "Who hears of the models that ask for it in mlops.yml, beside the default channel of email_addresses: by a channel's name, its e-mail addresses."
  type = map(object({
    email_addresses = optional(set(string), [])
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for name in keys(var.channels) : name != "default" && can(regex("^[a-z][a-z0-9-]{0,29}$", name))])
    error_message = "A channel's name must be a letter, then at most 29 lower-case letters, digits and hyphens; default is the one there always is."
  }
}

variable "log_retention_days" {
  description = "Days that logs are kept."
  type        = number
  default     = 365
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
  description = "Whether to leave out what the provider waits long for: retention rules, queues for lost events, the encryption key."
  type        = bool
  default     = false
  nullable    = false
}
