output "bucket" {
  description = "The bucket of data, models and evidence."
  value       = module.storage.bucket
}

output "topic_arn" {
  description = "The SNS topic that reaches e-mail."
  value       = module.notifications.topic_arn
}

output "trigger_function" {
  description = "The Lambda that starts DAGs."
  value       = module.dag_trigger.function_name
}

output "repositories" {
  description = "The address of each model's repository, by `<project>/<model>`."
  value       = module.registry.repository_urls
}

output "execution_role_arn" {
  description = "The role of SageMaker's jobs and endpoints."
  value       = module.sagemaker.execution_role_arn
}

output "settings_parameter" {
  description = "The parameter the mlops command and the DAGs read."
  value       = module.settings.parameter
}

output "slack_secret" {
  description = "The secret that awaits the Slack connection."
  value       = module.notifications.slack_secret
}

output "slack_secrets" {
  description = "The secrets that await the Slack connections of the channels beside the default one, by the channel's name."
  value       = { for name, channel in module.channels : name => channel.slack_secret }
}

output "dashboards" {
  description = "Where to see each model, by `<project>/<model>`."
  value       = module.observability.model_dashboard_urls
}

output "platform_dashboard" {
  description = "Where to see the platform."
  value       = module.observability.platform_dashboard_url
}

output "alarms" {
  description = "The names of each model's alarms, by `<project>/<model>`."
  value       = module.observability.model_alarms
}

output "role_arns" {
  description = "The role of each purpose, for the group's CI variables: build, train, deploy, plan, apply; none where gitlab is null."
  value       = local.role_arns
}

output "airflow_environment" {
  description = "The MWAA environment that runs the DAGs."
  value       = local.airflow_environment

  # Nobody calls it before it is there.
  depends_on = [module.airflow]
}

output "airflow_url" {
  description = "Where people open Airflow; empty if nobody said and none was made."
  value       = local.airflow_url
}

output "airflow_bucket" {
  description = "The bucket that MWAA reads DAGs, plugins and requirements from; null if none was made."
  value       = one(module.airflow[*].bucket)
}

output "network" {
  description = "What the company's network is joined to: VPC, private subnets and their route table; null if none was made."
  value = one([for made in module.network : {
    vpc_id         = made.vpc_id
    subnet_ids     = made.private_subnet_ids
    route_table_id = made.private_route_table_id
  }])
}
