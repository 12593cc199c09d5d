# Airflow as AWS runs it: the environment, its logs, and what it reads from its bucket.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.name

  # The five parts of MWAA that log, by the names it gives their groups.
  log_groups = {
    dag_processing = "DAGProcessing"
    scheduler      = "Scheduler"
    task           = "Task"
    webserver      = "WebServer"
    worker         = "Worker"
  }
}

# MWAA takes groups that are there. It would make these itself, and keep their logs for ever.
resource "aws_cloudwatch_log_group" "this" {
  for_each = local.log_groups

  name              = "airflow-${var.environment_name}-${each.value}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_mwaa_environment" "this" {
  name                            = var.environment_name
  airflow_version                 = var.airflow_version
  environment_class               = var.environment_class
  min_workers                     = var.min_workers
  max_workers                     = var.max_workers
  weekly_maintenance_window_start = var.maintenance_start
  execution_role_arn              = aws_iam_role.this.arn
  kms_key                         = var.kms_key_arn
  webserver_access_mode           = "PRIVATE_ONLY"

  source_bucket_arn = aws_s3_bucket.this.arn
  dag_s3_path       = "dags"
  # The versions make a plan show, and an apply do, an update of the environment when one of these two has changed;
  # of a DAG, MWAA takes whatever is newest, without an update.
  plugins_s3_path                = one(values(aws_s3_object.plugins)).key
  plugins_s3_object_version      = one(values(aws_s3_object.plugins)).version_id
  requirements_s3_path           = aws_s3_object.requirements.key
  requirements_s3_object_version = aws_s3_object.requirements.version_id

  airflow_configuration_options = merge(var.configuration_options, {
    # Between two looks at a job or an endpoint: an option of our own, which dags/run_tasks.py reads.
    "mlops.check_interval" = tostring(var.check_interval)
    # The supervisor of a task that closed its sockets before it ended waits this long, by default 5 s, and only then
    # says how it ended.
    "workers.min_heartbeat_interval" = tostring(var.min_heartbeat_interval)
    # A paused DAG accepts a run and never starts it.
    "core.dags_are_paused_at_creation" = "False"
    "secrets.backend"                  = "airflow.providers.amazon.aws.secrets.secrets_manager.SecretsManagerBackend"
    # Variables and configuration are not looked up there: each look costs a call and would be refused.
    "secrets.backend_kwargs" = jsonencode({ connections_prefix = "airflow/connections", variables_prefix = null, config_prefix = null })
  })

  network_configuration {
    subnet_ids         = var.subnet_ids
    security_group_ids = var.security_group_ids
  }

  logging_configuration {
    dag_processing_logs {
      enabled   = true
      log_level = "INFO"
    }

    scheduler_logs {
      enabled   = true
      log_level = "INFO"
    }

    task_logs {
      enabled   = true
      log_level = "INFO"
    }

    webserver_logs {
      enabled   = true
      log_level = "INFO"
    }

    worker_logs {
      enabled   = true
      log_level = "INFO"
    }
  }

  # AWS takes 20 to 40 minutes for each, and longer when it has to roll back.
  timeouts {
    create = "120m"
    update = "180m"
    delete = "90m"
  }

  # MWAA checks bucket and role when it begins, and parses the DAGs as soon as it is there.
  depends_on = [
    aws_cloudwatch_log_group.this,
    aws_iam_role_policy.dags,
    aws_iam_role_policy.mwaa,
    aws_s3_object.dags,
    module.private,
  ]
}
