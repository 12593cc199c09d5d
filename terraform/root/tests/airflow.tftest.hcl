# The root with and without an MWAA environment of its own.
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
  models              = { web-safety = { phishing-url = "models/phishing-url" } }
}

run "of_its_own" {
  command = plan

  assert {
    condition     = output.airflow_environment == "ml-ops-prod" && output.airflow_url == "https://0a1b.c2.eu-central-1.airflow.amazonaws.com"
    error_message = "The environment is named after this one, and links lead to it."
  }
  assert {
    condition     = length(module.network[0].private_subnet_ids) == 3
    error_message = "The network has as many zones as asked for; MWAA takes two."
  }
}

run "elsewhere" {
  command = plan

  variables {
    airflow             = null
    airflow_package     = null
    airflow_environment = "companys-own"
  }

  assert {
    condition     = length(module.network) == 0 && length(module.airflow) == 0 && output.airflow_environment == "companys-own" && output.airflow_url == "" && output.network == null
    error_message = "Nothing is made where an environment is there."
  }
}

run "people_are_told_another_address" {
  command = plan

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
