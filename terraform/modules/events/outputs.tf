output "rule_names" {
  description = "The EventBridge rules, by what they listen to."
  value       = { for name, rule in aws_cloudwatch_event_rule.this : name => rule.name }
}

output "schedule_names" {
  description = "The schedules, as <group>/<name>."
  value       = [for name in sort(keys(local.schedules)) : "${var.name}/${name}"]
}

output "failed_events_queue" {
  description = "The name of the queue of events that never reached the function; null if none is kept."
  value       = one(values(aws_sqs_queue.failed)[*].name)
}

output "alarm_names" {
  description = "The alarm on that queue."
  value       = values(aws_cloudwatch_metric_alarm.failed)[*].alarm_name
}
