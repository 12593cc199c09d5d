# As prod, smaller: a change of the platform is proved here first.
environment     = "stage"
account_id      = "222222222222"
region          = "eu-west-1"
email_addresses = ["ml-team@example.com"]
airflow         = { class = "mw1.small" }
network         = { cidr = "10.65.0.0/22" }
budget          = { monthly_usd = 1000 }

gitlab = {
  url              = "https://gitlab.example.com"
  platform_project = "platform/ml-ops"
}
