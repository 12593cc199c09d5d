# Airflow, and the network it is in; none of it where an environment of MWAA is there already.

locals {
  airflow_bucket = "${var.name}-airflow-${var.environment}-${var.account_id}"

  # What links to runs lead to: the address given to people, else the web server itself.
  airflow_url = var.airflow_url != "" || var.airflow == null ? var.airflow_url : module.airflow[0].webserver_url
}

module "network" {
  source = "../modules/network"
  count  = var.airflow == null ? 0 : 1

  name    = var.name
  cidr    = var.network.cidr
  zones   = var.network.zones
  nat     = var.network.nat
  clients = var.network.clients
  # Written out, so that a plan shows what the gateway lets through.
  bucket_names         = ["${var.name}-${var.environment}-${var.account_id}", local.airflow_bucket]
  kms_key_arn          = local.kms_key_arn
  permissions_boundary = local.permissions_boundary
  log_retention_days   = var.log_retention_days
}

module "airflow" {
  source = "../modules/airflow"
  count  = var.airflow == null ? 0 : 1

  environment_name  = local.airflow_environment
  role_name         = "${var.name}-airflow"
  bucket_name       = local.airflow_bucket
  package           = var.airflow_package
  airflow_version   = var.airflow.version
  environment_class = var.airflow.class
  min_workers       = var.airflow.min_workers
  max_workers       = var.airflow.max_workers
  maintenance_start = var.airflow.maintenance_start
  check_interval    = var.airflow.check_interval
  # MWAA takes two, however many zones the network has.
  subnet_ids          = slice(module.network[0].private_subnet_ids, 0, 2)
  security_group_ids  = [module.network[0].airflow_security_group_id]
  platform_bucket_arn = module.storage.bucket_arn
  sagemaker_role_arn  = module.sagemaker.execution_role_arn
  # As the module settings names it, which refers to the Lambda, which refers to this environment.
  settings_parameter   = "/${var.name}/settings"
  slack_secret_arn     = module.notifications.slack_secret_arn
  topic_arn            = module.notifications.topic_arn
  kms_key_arn          = local.kms_key_arn
  permissions_boundary = local.permissions_boundary
  # Formatted, because a plan then knows that there is a bucket, though not yet which.
  access_log_bucket       = var.quick ? null : format("%s", module.storage.access_log_bucket)
  noncurrent_version_days = var.quick ? null : 90
  log_retention_days      = var.log_retention_days
  force_destroy           = var.disposable
}
