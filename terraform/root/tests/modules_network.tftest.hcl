mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-west-1c", "eu-west-1a", "eu-west-1b"] }
  }
  mock_resource "aws_iam_role" {
    override_during = plan
    defaults        = { arn = "arn:aws:iam::111122223333:role/ml-ops-network-logs" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    override_during = plan
    defaults        = { arn = "arn:aws:logs:eu-west-1:111122223333:log-group:/ml-ops/network" }
  }
}

variables {
  permissions_boundary = "arn:aws:iam::111122223333:policy/ml-ops-boundary"
  name                 = "ml-ops"
  bucket_names         = ["ml-ops-prod-111122223333", "ml-ops-airflow-prod-111122223333"]
  kms_key_arn          = "arn:aws:kms:eu-west-1:111122223333:key/0f0f"
}

run "private_by_default" {
  command = plan

  module {
    source = "../modules/network"
  }

  assert {
    condition     = { for zone, subnet in aws_subnet.private : zone => subnet.cidr_block } == { eu-west-1a = "10.64.0.0/24", eu-west-1b = "10.64.1.0/24" }
    error_message = "Two zones, in the order of their names whatever AWS's order, with a quarter of the block each."
  }
  assert {
    condition     = length(aws_internet_gateway.this) + length(aws_nat_gateway.this) + length(aws_subnet.public) + length(aws_route.to_nat) + length(aws_route.to_internet) == 0
    error_message = "There is no way to the internet."
  }
  assert {
    condition     = length(aws_vpc_security_group_egress_rule.to_internet) == 0 && aws_vpc_security_group_egress_rule.to_endpoints.from_port == 443
    error_message = "Airflow may not call the internet."
  }
  # What AWS's page names, and what our DAGs call.
  assert {
    condition = keys(aws_vpc_endpoint.service) == [
      "airflow.api", "airflow.env", "airflow.ops", "ecr.api", "ecr.dkr", "kms", "logs", "monitoring",
      "sagemaker.api", "sagemaker.runtime", "secretsmanager", "sns", "sqs", "ssm",
    ]
    error_message = "MWAA and the DAGs reach every service they need."
  }
  assert {
    condition     = alltrue([for name, endpoint in aws_vpc_endpoint.service : endpoint.private_dns_enabled && endpoint.vpc_endpoint_type == "Interface" && endpoint.service_name == "com.amazonaws.eu-west-1.${name}"])
    error_message = "Endpoints answer to their services' own names."
  }
  assert {
    condition     = alltrue([for name in var.dag_endpoints : jsondecode(aws_vpc_endpoint.service[name].policy).Statement[0].Condition.StringEquals == { "aws:PrincipalAccount" = "111122223333", "aws:ResourceAccount" = "111122223333" }])
    error_message = "What the DAGs call is called by this account, and in it."
  }
  assert {
    condition = { for statement in jsondecode(aws_vpc_endpoint.s3.policy).Statement : statement.Sid => statement.Resource } == {
      OurBucketsForOurRoles = [
        "arn:aws:s3:::ml-ops-airflow-prod-111122223333", "arn:aws:s3:::ml-ops-airflow-prod-111122223333/*",
        "arn:aws:s3:::ml-ops-prod-111122223333", "arn:aws:s3:::ml-ops-prod-111122223333/*",
      ]
      LayersOfEcr = "arn:aws:s3:::prod-eu-west-1-starport-layer-bucket/*"
    }
    error_message = "S3's gateway leads to our buckets and ECR's layers alone."
  }
  assert {
    condition     = aws_flow_log.this.traffic_type == "ALL" && aws_cloudwatch_log_group.flow.kms_key_id == var.kms_key_arn && aws_cloudwatch_log_group.flow.retention_in_days == 365
    error_message = "All traffic is logged, encrypted, and not kept for ever."
  }
  assert {
    condition     = jsondecode(aws_iam_role.flow.assume_role_policy).Statement[0].Condition.StringEquals == { "aws:SourceAccount" = "111122223333" } && aws_iam_role.flow.permissions_boundary == var.permissions_boundary
    error_message = "Only this account's flow logs take the role, and it can never do more than the boundary."
  }
}

run "with_internet" {
  command = plan

  module {
    source = "../modules/network"
  }

  variables {
    cidr    = "10.70.0.0/24"
    zones   = 3
    nat     = true
    clients = ["10.0.0.0/8"]
  }

  assert {
    condition     = values({ for zone, subnet in aws_subnet.private : zone => subnet.cidr_block }) == ["10.70.0.0/26", "10.70.0.64/26", "10.70.0.128/26"]
    error_message = "Private subnets are where they are without NAT."
  }
  assert {
    condition     = values({ for zone, subnet in aws_subnet.public : zone => subnet.cidr_block }) == ["10.70.0.192/28"] && !aws_subnet.public["eu-west-1a"].map_public_ip_on_launch
    error_message = "One public subnet, for the NAT gateway alone."
  }
  assert {
    condition     = length(aws_nat_gateway.this) == 1 && aws_route.to_nat[0].destination_cidr_block == "0.0.0.0/0" && aws_vpc_security_group_egress_rule.to_internet[0].from_port == 443
    error_message = "Private subnets reach the internet through it, over HTTPS."
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.clients["10.0.0.0/8"].from_port == 443
    error_message = "People of the company open Airflow."
  }
}

run "fewer_endpoints" {
  command = plan

  module {
    source = "../modules/network"
  }

  variables {
    mwaa_endpoints = ["sqs"]
    dag_endpoints  = []
  }

  assert {
    condition     = keys(aws_vpc_endpoint.service) == ["sqs"]
    error_message = "A company that provides some itself pays for none of them here."
  }
}

run "refuses_bad_values" {
  command = plan

  module {
    source = "../modules/network"
  }

  variables {
    permissions_boundary = "ml-ops-boundary"
    name                 = "ML"
    cidr                 = "10.64.0.1/22"
    zones                = 1
    clients              = ["0.0.0.0/0"]
    mwaa_endpoints       = ["s3"]
    dag_endpoints        = ["SageMaker"]
    bucket_names         = []
    kms_key_arn          = "alias/key"
    log_retention_days   = 8
  }

  expect_failures = [
    var.permissions_boundary,
    var.name,
    var.cidr,
    var.zones,
    var.clients,
    var.mwaa_endpoints,
    var.dag_endpoints,
    var.bucket_names,
    var.kms_key_arn,
    var.log_retention_days,
  ]
}
