output "function_name" {
  description = "The Lambda's name."
  value       = aws_lambda_function.this.function_name
}

output "function_arn" {
  description = "The Lambda's ARN, for policies of those who call it."
  value       = aws_lambda_function.this.arn
}

output "log_group" {
  description = "The Lambda's log group."
  value       = aws_cloudwatch_log_group.this.name
}

output "failed_events_queue" {
  description = "The name of the queue of failed events; null if none is kept."
  value       = one(values(aws_sqs_queue.failed)[*].name)
}

output "alarm_names" {
  description = "The alarms on the Lambda and its queue."
  value       = concat(values(aws_cloudwatch_metric_alarm.lambda)[*].alarm_name, values(aws_cloudwatch_metric_alarm.failed_events)[*].alarm_name)
}
