# State lies in the environment's own account; environments/<name>/backend.hcl says where.
# The local stack leaves this file out: its state lives as long as it does.
terraform {
  backend "s3" {
    key          = "ml-ops/terraform.tfstate"
    encrypt      = true
    use_lockfile = true
  }
}
