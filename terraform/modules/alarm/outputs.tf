output "alarms" {
  description = "The alarms, by the keys of watched."
  value       = aws_cloudwatch_metric_alarm.this
}
