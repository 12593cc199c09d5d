output "log_groups" {
  description = "The log groups that are forwarded."
  value       = sort(values(aws_cloudwatch_log_subscription_filter.this)[*].log_group_name)
}

output "metric_namespaces" {
  description = "The namespaces whose metrics are forwarded."
  value       = var.metric_destination_arn == null ? [] : sort(tolist(var.metric_namespaces))
}
