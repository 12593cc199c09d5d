# What starts DAGs without a push: events of AWS, and schedules.

module "events" {
  source = "../modules/events"

  name                 = var.name
  function_name        = module.dag_trigger.function_name
  function_arn         = module.dag_trigger.function_arn
  bucket               = module.storage.bucket
  models               = local.repositories
  monitoring_schedule  = var.monitoring_schedule
  retraining_schedule  = var.retraining_schedule
  topic_arn            = module.notifications.topic_arn
  keep_failed_events   = !var.quick
  permissions_boundary = local.permissions_boundary
}
