# Made by `mlops terraform bootstrap stage`.
bucket = "ml-ops-terraform-state-222222222222"
region = "eu-west-1"
