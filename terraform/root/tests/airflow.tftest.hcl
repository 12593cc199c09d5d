# The root with an MWAA environment of its own and the roles of a GitLab.
mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-central-1" }
  }
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
  }
  mock_resource "aws_iam_policy" {
    override_during = plan
    defaults        = { arn = "arn:aws:iam::111122223333:policy/ml-ops-policy" }
  }
  mock_resource "aws_mwaa_environment" {
    override_during = plan
    defaults        = { webserver_url = "0a1b.c2.eu-central-1.airflow.amazonaws.com" }
  }
  mock_resource "aws_subnet" {
    override_during = plan
    defaults        = { id = "subnet-1" }
  }
}

variables {
  environment         = "prod"
  account_id          = "111122223333"
  region              = "eu-central-1"
  dag_trigger_package = "./tests/package.zip"
  airflow_package     = "./tests/airflow"
  airflow             = { class = "mw1.medium", min_workers = 2, max_workers = 10 }
  network             = { cidr = "10.66.0.0/22", zones = 3 }
  models              = { web-safety = { phishing-url = "models/phishing-url" }, fraud = { card-payments = "models/fraud", chargebacks = "models/fraud" } }
  gitlab              = { url = "https://gitlab.example.com", platform_project = "platform/ml-ops" }
}

run "roles_and_airflow_of_its_own" {
  command = plan

  assert {
    condition     = output.airflow_environment == "ml-ops-prod" && output.airflow_url == "https://0a1b.c2.eu-central-1.airflow.amazonaws.com"
    error_message = "The environment is named after this one, and links lead to it."
  }
  assert {
    condition     = length(module.network[0].private_subnet_ids) == 3
    error_message = "The network has as many zones as asked for; MWAA takes two."
  }
  assert {
    condition     = keys(output.role_arns) == ["apply", "build", "deploy", "plan", "train"]
    error_message = "One role a purpose."
  }
  # identity is told names, so that a plan shows every policy: they must be those of the other modules.
  assert {
    condition     = module.dag_trigger.function_name == "ml-ops-dag-trigger" && module.settings.parameter == "/ml-ops/settings" && module.notifications.slack_secret == "airflow/connections/slack"
    error_message = "The roles reach the function, the parameter and the secret that are there."
  }
  assert {
    condition     = local.model_projects == toset(["models/fraud", "models/phishing-url"])
    error_message = "Two models of one GitLab project make it one project."
  }
}

run "people_are_told_another_address" {
  command = plan

  plan_options {
    target = [module.airflow]
  }

  variables {
    airflow_url = "https://airflow.example.com"
  }

  assert {
    condition     = output.airflow_url == "https://airflow.example.com"
    error_message = "What an environment's values say goes first."
  }
}

run "refuses_no_package" {
  command = plan

  variables {
    airflow_package = null
  }

  expect_failures = [var.airflow_package]
}
