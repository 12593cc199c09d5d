# Who watches: dashboards and alarms, what a second monitoring system gets, and what it all may cost.

locals {
  # As versions.endpoint_name() writes them.
  endpoints = { for name in local.repositories : name => replace(name, "/", "--") }
}

module "observability" {
  source = "../modules/observability"

  name             = var.name
  models           = local.endpoints
  topic_arn        = module.notifications.topic_arn
  trigger_function = module.dag_trigger.function_name
  # After the environment is there: until then its scheduler would be missed.
  airflow_environment = one(module.airflow[*].environment_name)
  kms_key_arn         = local.kms_key_arn
  log_retention_days  = var.log_retention_days
}

module "log_forwarding" {
  source = "../modules/log-forwarding"

  name                = var.name
  log_destination_arn = var.log_destination_arn
  log_groups = merge(
    module.sagemaker.log_groups,
    { trigger = module.dag_trigger.log_group, states = module.observability.log_group },
    module.airflow[*].log_groups...
  )
  metric_destination_arn = var.metric_destination_arn
  permissions_boundary   = local.permissions_boundary
}

module "budget" {
  source = "../modules/budget"
  count  = var.budget == null ? 0 : 1

  name            = var.name
  monthly_usd     = var.budget.monthly_usd
  email_addresses = var.budget.email_addresses
  topic_arn       = module.notifications.topic_arn
}
