output "environment_name" {
  description = "The MWAA environment's name."
  value       = aws_mwaa_environment.this.name
}

output "webserver_url" {
  description = "Where people open Airflow, from inside the network."
  # AWS answers the bare name of the host, and documents an address.
  value = "https://${trimprefix(aws_mwaa_environment.this.webserver_url, "https://")}"
}

output "bucket" {
  description = "The bucket that MWAA reads."
  value       = aws_s3_bucket.this.id
}

output "role_arn" {
  description = "The role of Airflow and its tasks."
  value       = aws_iam_role.this.arn
}

output "log_groups" {
  description = "The log groups of Airflow's parts."
  value       = { for part, group in aws_cloudwatch_log_group.this : part => group.name }
}
