# Serves the company's models.
environment     = "prod"
account_id      = "333333333333"
region          = "eu-west-1"
email_addresses = ["ml-team@example.com"]
airflow         = { class = "mw1.medium", min_workers = 2, max_workers = 10 }
network         = { cidr = "10.66.0.0/22" }
budget          = { monthly_usd = 3000 }

gitlab = {
  url              = "https://gitlab.example.com"
  platform_project = "platform/ml-ops"
}
