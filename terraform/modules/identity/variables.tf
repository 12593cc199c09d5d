variable "name" {
  description = "What the names of all roles and policies begin with."
  type        = string
  default     = "ml-ops"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name must have 3 to 20 lower-case letters, digits and hyphens."
  }
}

variable "gitlab_url" {
  description = "The GitLab that signs the tokens, without a slash at its end; AWS reads its keys over HTTPS."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^https?://[^/\\s]+(/[^/\\s]+)*$", var.gitlab_url))
    error_message = "gitlab_url must be a URL without a slash at its end: AWS compares it letter by letter."
  }
}

variable "audience" {
  description = "The `aud` of the platform's own tokens; those of jobs that build, train and deploy have `/build`, `/train` or `/deploy` after it. Null for gitlab_url."
  type        = string
  default     = null

  validation {
    condition     = var.audience == null || can(regex("^[^\\s]*[^/\\s]$", var.audience))
    error_message = "audience must have no spaces and no slash at its end."
  }
}

variable "shared_audience" {
  description = "Whether build, train and deploy also trust the audience without a purpose, which the jobs of all three have with templates of the release before: for the days in which both are in use."
  type        = bool
  default     = false
  nullable    = false
}

variable "platform_project" {
  description = "The GitLab project of this repository, whose pipeline plans and applies."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+$", var.platform_project))
    error_message = "platform_project must be a path such as platform/ml-ops."
  }
}

variable "model_projects" {
  description = "The GitLab projects whose jobs build, train and deploy models."
  type        = set(string)
  nullable    = false

  # A wildcard here would let other projects take the roles.
  validation {
    condition     = alltrue([for path in var.model_projects : can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+$", path))])
    error_message = "Every GitLab project must be a path such as group/project."
  }
}

variable "downstream_project" {
  description = "The GitLab project that runs the pipelines which model repositories start in it; null if their own projects run them. The audiences of its jobs are `<gitlab_url>/downstream/build`, and so on."
  type        = string
  default     = null

  validation {
    condition     = var.downstream_project == null || can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+$", var.downstream_project))
    error_message = "downstream_project must be a path such as platform/ml-ops."
  }

  # One audience for both would let the jobs of models plan and apply the platform.
  validation {
    condition     = var.downstream_project == null || var.audience != "${var.gitlab_url}/downstream"
    error_message = "audience must not be <gitlab_url>/downstream, which is that of the models' jobs."
  }
}

variable "protected_branch" {
  description = "The branch whose jobs may take the roles: the default branch of every project, protected there."
  type        = string
  default     = "main"
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9_][A-Za-z0-9_./-]*$", var.protected_branch))
    error_message = "protected_branch must be the name of one branch."
  }
}

variable "merge_requests" {
  description = "Whether other branches may build and train here; they never deploy."
  type        = bool
  default     = false
  nullable    = false
}

variable "deployment_tier" {
  description = "The tier of the protected GitLab environment that a job must run in to deploy or apply; null where `sub` says nothing of environments, which is GitLab's default."
  type        = string
  default     = null

  validation {
    condition     = var.deployment_tier == null || try(contains(["production", "staging", "testing", "development", "other"], var.deployment_tier), false)
    error_message = "deployment_tier must be one of GitLab's: production, staging, testing, development or other."
  }
}

variable "repositories" {
  description = "The ECR repositories of the models, `<project>/<model>`."
  type        = set(string)
  nullable    = false

  validation {
    condition     = alltrue([for name in var.repositories : can(regex("^[a-z0-9]+(-[a-z0-9]+)*/[a-z0-9]+(-[a-z0-9]+)*$", name))])
    error_message = "Every repository must be <project>/<model>."
  }
}

variable "bucket" {
  description = "The bucket of data, models and evidence."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "bucket must be a bucket's name."
  }
}

variable "state_bucket" {
  description = "The bucket of Terraform's state."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.state_bucket))
    error_message = "state_bucket must be a bucket's name."
  }
}

variable "state_key" {
  description = "The object that holds the state; its lock lies beside it."
  type        = string
  default     = "ml-ops/terraform.tfstate"
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._/-]*$", var.state_key))
    error_message = "state_key must be the key of one object."
  }
}

variable "trigger_function" {
  description = "The Lambda that starts DAGs."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,64}$", var.trigger_function))
    error_message = "trigger_function must be the name of a function."
  }
}

variable "settings_parameter" {
  description = "The parameter with the platform's settings."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^(/[A-Za-z0-9_.-]+)+$", var.settings_parameter))
    error_message = "settings_parameter must be a name such as /ml-ops/settings."
  }
}

variable "topic" {
  description = "The SNS topic that reaches e-mail."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,256}$", var.topic))
    error_message = "topic must be the name of a topic."
  }
}

variable "slack_secret" {
  description = "The secret of the Slack connection."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9/_+=.@-]{1,512}$", var.slack_secret))
    error_message = "slack_secret must be the name of a secret."
  }
}

variable "airflow_environment" {
  description = "The MWAA environment that runs the DAGs."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z][0-9A-Za-z_-]{0,79}$", var.airflow_environment))
    error_message = "airflow_environment must be a name MWAA allows."
  }
}
