# The addresses of alarms before they were rows of a table: an older state keeps its resources.

moved {
  from = aws_cloudwatch_metric_alarm.errors
  to   = module.model_alarm["errors"].aws_cloudwatch_metric_alarm.this
}

moved {
  from = aws_cloudwatch_metric_alarm.unanswered
  to   = module.model_alarm["unanswered"].aws_cloudwatch_metric_alarm.this
}

moved {
  from = aws_cloudwatch_metric_alarm.latency
  to   = module.model_alarm["latency"].aws_cloudwatch_metric_alarm.this
}

moved {
  from = aws_cloudwatch_metric_alarm.memory
  to   = module.model_alarm["memory"].aws_cloudwatch_metric_alarm.this
}

moved {
  from = aws_cloudwatch_metric_alarm.drift
  to   = module.model_alarm["drift"].aws_cloudwatch_metric_alarm.this
}

moved {
  from = aws_cloudwatch_metric_alarm.scheduler
  to   = module.airflow_alarm["scheduler"].aws_cloudwatch_metric_alarm.this
}

moved {
  from = aws_cloudwatch_metric_alarm.imports
  to   = module.airflow_alarm["imports"].aws_cloudwatch_metric_alarm.this
}

moved {
  from = aws_cloudwatch_metric_alarm.failed_runs
  to   = module.airflow_alarm["failed_runs"].aws_cloudwatch_metric_alarm.this
}
