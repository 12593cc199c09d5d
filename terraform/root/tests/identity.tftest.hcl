# The roles of a real environment, as the root makes them.
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
  mock_resource "aws_iam_policy" {
    override_during = plan
    defaults        = { arn = "arn:aws:iam::111122223333:policy/ml-ops-policy" }
  }
}

variables {
  environment         = "prod"
  account_id          = "111122223333"
  region              = "eu-central-1"
  airflow_environment = "ml-ops-prod"
  dag_trigger_package = "./tests/package.zip"
  models              = { web-safety = { phishing-url = "models/phishing-url" }, fraud = { card-payments = "models/fraud", chargebacks = "models/fraud" } }
}

run "roles_are_of_this_environment" {
  command = plan

  variables {
    gitlab = {
      url              = "https://gitlab.example.com"
      platform_project = "platform/ml-ops"
    }
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

run "without_gitlab_there_are_no_roles" {
  command = plan

  assert {
    condition     = length(output.role_arns) == 0 && length(module.identity) == 0
    error_message = "The local stack's jobs take no roles."
  }
}
