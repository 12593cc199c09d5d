# For the platform's own changes, and for branches of model repos.
environment     = "dev"
account_id      = "111111111111"
region          = "eu-west-1"
email_addresses = ["ml-team@example.com"]
airflow         = { class = "mw1.small", max_workers = 2, check_interval = 5 }
network         = { cidr = "10.64.0.0/22" }
budget          = { monthly_usd = 1000 }

gitlab = {
  url              = "https://gitlab.example.com"
  platform_project = "platform/ml-ops"
  # branches of model repos build and train here, and only here
  merge_requests = true
}
