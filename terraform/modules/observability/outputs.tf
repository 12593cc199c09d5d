output "model_dashboard_urls" {
  description = "Where to see each model, by `<project>/<model>`."
  value       = { for name, dashboard in aws_cloudwatch_dashboard.model : name => "${local.dashboards}${dashboard.dashboard_name}" }
}

output "platform_dashboard_url" {
  description = "Where to see the platform."
  value       = "${local.dashboards}${aws_cloudwatch_dashboard.platform.dashboard_name}"
}

output "model_alarms" {
  description = "The names of each model's alarms, by `<project>/<model>`."
  value = {
    for name in keys(var.models) : name => [
      for kind in local.model_alarm_kinds : module.model_alarm[kind].alarms[name].alarm_name if kind != "drift"
    ]
  }
}

output "log_group" {
  description = "The log group of the states of jobs and endpoints."
  value       = aws_cloudwatch_log_group.states.name
}
