output "key_arn" {
  description = "The key's ARN."
  # Put together, because a plan then knows that there is a key, though not which.
  value = "arn:${local.partition}:kms:${local.region}:${local.account}:key/${aws_kms_key.this.key_id}"
}

output "alias" {
  description = "The key's alias."
  value       = aws_kms_alias.this.name
}
