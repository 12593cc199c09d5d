# What CI jobs and DAG tasks read at run time, so that nothing of an account is written in a model repo.

resource "aws_ssm_parameter" "this" {
  #checkov:skip=CKV2_AWS_34: holds names that every job must read, and no secret
  name        = var.parameter_name
  description = "What the platform says of itself; read by the mlops command and the DAGs"
  type        = "String"
  # With more than some fifteen channels the document needs an advanced parameter, which costs a few cents a month.
  tier  = "Intelligent-Tiering"
  value = jsonencode(var.settings)
}
