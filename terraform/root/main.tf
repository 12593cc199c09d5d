# One environment of the platform. Every environment is this root with other values.

provider "aws" {
  region = var.region
  # The wrong profile or role cannot change another environment.
  allowed_account_ids = [var.account_id]

  default_tags {
    tags = {
      "ml-ops:environment" = var.environment
      "ml-ops:managed-by"  = "terraform"
    }
  }
}

locals {
  airflow_environment = coalesce(var.airflow_environment, "${var.name}-${var.environment}")

  projects = setunion(keys(var.models), keys(var.extra_models))
  repositories = toset(flatten([
    for project in local.projects : [
      for model in setunion(keys(lookup(var.models, project, {})), lookup(var.extra_models, project, [])) : "${project}/${model}"
    ]
  ]))

  # Whose code each model's is. Those of extra_models belong to nobody.
  gitlab_projects = merge({}, [
    for project, models in var.models : { for model, path in models : "${project}/${model}" => path }
  ]...)

  # null in the local stack: each service then encrypts with a key of its own
  kms_key_arn = one(module.encryption[*].key_arn)

  # {group} and {stream} are replaced by those who show a link.
  console = "https://${var.region}.console.aws.amazon.com/cloudwatch/home?region=${var.region}#logsV2:log-groups/log-group/{group}/log-events/{stream}"
}

module "encryption" {
  source = "../modules/encryption"
  count  = var.quick ? 0 : 1

  name                 = var.name
  deletion_window_days = var.disposable ? 7 : 30
}

module "storage" {
  source = "../modules/storage"

  bucket_name             = "${var.name}-${var.environment}-${var.account_id}"
  access_log_bucket_name  = var.quick ? null : "${var.name}-${var.environment}-${var.account_id}-logs"
  kms_key_arn             = local.kms_key_arn
  noncurrent_version_days = var.quick ? null : 90
  capture_prefixes        = [for name in local.repositories : "${name}/capture/"]
  force_destroy           = var.disposable
}

module "registry" {
  source = "../modules/registry"

  repositories      = local.repositories
  gitlab_projects   = local.gitlab_projects
  kms_key_arn       = local.kms_key_arn
  expire_after_days = var.quick ? null : 14
  force_delete      = var.disposable
}

module "notifications" {
  source = "../modules/notifications"

  topic_name           = "${var.name}-notifications"
  email_addresses      = var.email_addresses
  kms_key_arn          = local.kms_key_arn
  secret_recovery_days = var.disposable ? 0 : 30
}

# Beside the default channel, which also hears of the platform itself. Roles may use what is named so.
module "channels" {
  source   = "../modules/notifications"
  for_each = var.channels

  topic_name           = "${var.name}-notifications-${each.key}"
  slack_secret_name    = "airflow/connections/slack_${each.key}"
  email_addresses      = each.value.email_addresses
  kms_key_arn          = local.kms_key_arn
  secret_recovery_days = var.disposable ? 0 : 30
}

module "sagemaker" {
  source = "../modules/sagemaker"

  role_name            = "${var.name}-sagemaker-execution"
  bucket_arn           = module.storage.bucket_arn
  repositories         = module.registry.repository_arns
  kms_key_arn          = local.kms_key_arn
  log_retention_days   = var.log_retention_days
  permissions_boundary = local.permissions_boundary
}

module "dag_trigger" {
  source = "../modules/dag-trigger"

  function_name        = "${var.name}-dag-trigger"
  package              = var.dag_trigger_package
  airflow_environment  = local.airflow_environment
  airflow_url          = local.airflow_url
  reserved_concurrency = var.dag_trigger_concurrency
  data_window_seconds  = var.data_window_seconds
  training_data        = var.training_data
  topic_arn            = module.notifications.topic_arn
  keep_failed_events   = !var.quick
  kms_key_arn          = local.kms_key_arn
  log_retention_days   = var.log_retention_days
  permissions_boundary = local.permissions_boundary
}

module "settings" {
  source = "../modules/settings"

  parameter_name = "/${var.name}/settings"
  settings = {
    environment         = var.environment
    region              = var.region
    bucket              = module.storage.bucket
    execution_role_arn  = module.sagemaker.execution_role_arn
    topic_arn           = module.notifications.topic_arn
    trigger_function    = module.dag_trigger.function_name
    airflow_environment = local.airflow_environment
    slack_secret        = module.notifications.slack_secret
    log_group_url       = coalesce(var.log_group_url, local.console)
    channels = {
      for name, channel in module.channels : name => { topic_arn = channel.topic_arn, slack_secret = channel.slack_secret }
    }
  }
}
