# Made by `mlops terraform bootstrap prod`.
bucket = "ml-ops-terraform-state-333333333333"
region = "eu-west-1"
