# The local stack: no account, nothing that must last.
environment             = "local"
account_id              = "123456789012"
region                  = "eu-west-1"
airflow_environment     = "ml-ops-local"
email_addresses         = ["ml-team@example.com"]
dag_trigger_concurrency = null
data_window_seconds     = 15
log_retention_days      = 7
disposable              = true
quick                   = true

# Of the example with two models, examples/penguins.
extra_models = { penguins = ["body-mass", "species"] }
