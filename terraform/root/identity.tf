# Who may do what in this environment. Only where GitLab's jobs take roles.

locals {
  model_projects = toset(flatten([for models in values(var.models) : values(models)]))

  # null in the local stack, whose jobs take no roles
  permissions_boundary = one(module.identity[*].boundary_arn)
  role_arns            = merge({}, module.identity[*].role_arns...)
}

module "identity" {
  source = "../modules/identity"
  count  = var.gitlab == null ? 0 : 1

  name             = var.name
  gitlab_url       = var.gitlab.url
  audience         = var.gitlab.audience
  shared_audience  = var.gitlab.shared_audience
  platform_project = var.gitlab.platform_project
  protected_branch = var.gitlab.protected_branch
  merge_requests   = var.gitlab.merge_requests
  deployment_tier  = var.gitlab.deployment_tier
  model_projects   = local.model_projects

  downstream_project = var.gitlab.downstream_project

  # Names, not what other modules answer: so a plan shows every policy.
  repositories        = local.repositories
  bucket              = "${var.name}-${var.environment}-${var.account_id}"
  state_bucket        = "${var.name}-terraform-state-${var.account_id}"
  trigger_function    = "${var.name}-dag-trigger"
  settings_parameter  = "/${var.name}/settings"
  topic               = "${var.name}-notifications"
  slack_secret        = "airflow/connections/slack"
  airflow_environment = local.airflow_environment
}
