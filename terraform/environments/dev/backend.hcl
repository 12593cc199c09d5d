# Made by `mlops terraform bootstrap dev`.
bucket = "ml-ops-terraform-state-111111111111"
region = "eu-west-1"
