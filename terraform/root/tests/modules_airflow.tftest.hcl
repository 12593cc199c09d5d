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
  mock_resource "aws_iam_role" {
    override_during = plan
    defaults        = { arn = "arn:aws:iam::111122223333:role/ml-ops-airflow" }
  }
  mock_resource "aws_s3_bucket" {
    override_during = plan
    defaults        = { id = "ml-ops-airflow-prod-111122223333", arn = "arn:aws:s3:::ml-ops-airflow-prod-111122223333" }
  }
  mock_resource "aws_s3_object" {
    override_during = plan
    defaults        = { version_id = "v1" }
  }
  mock_resource "aws_mwaa_environment" {
    override_during = plan
    defaults        = { webserver_url = "0a1b.c2.eu-west-1.airflow.amazonaws.com" }
  }
}

variables {
  permissions_boundary = "arn:aws:iam::111122223333:policy/ml-ops-boundary"
  environment_name     = "ml-ops-prod"
  role_name            = "ml-ops-airflow"
  bucket_name          = "ml-ops-airflow-prod-111122223333"
  package              = "./tests/airflow"
  subnet_ids           = ["subnet-1", "subnet-2"]
  security_group_ids   = ["sg-1"]
  platform_bucket_arn  = "arn:aws:s3:::ml-ops-prod-111122223333"
  sagemaker_role_arn   = "arn:aws:iam::111122223333:role/ml-ops-sagemaker-execution"
  settings_parameter   = "/ml-ops/settings"
  slack_secret_arn     = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:airflow/connections/slack-abcdef"
  topic_arn            = "arn:aws:sns:eu-west-1:111122223333:ml-ops-notifications"
  kms_key_arn          = "arn:aws:kms:eu-west-1:111122223333:key/0f0f"
}

run "real_environment" {
  command = plan

  module {
    source = "../modules/airflow"
  }

  assert {
    condition     = aws_mwaa_environment.this.airflow_version == "3.2.1" && aws_mwaa_environment.this.webserver_access_mode == "PRIVATE_ONLY" && aws_mwaa_environment.this.kms_key == var.kms_key_arn
    error_message = "The release that DAGs are tested with, reached from the network alone, encrypted with our key."
  }
  assert {
    condition     = aws_mwaa_environment.this.requirements_s3_object_version == "v1" && aws_mwaa_environment.this.plugins_s3_object_version == "v1"
    error_message = "Requirements and plugins are named by version: a new one updates the environment."
  }
  assert {
    condition = aws_mwaa_environment.this.airflow_configuration_options == tomap({
      "core.dags_are_paused_at_creation" = "False"
      "mlops.check_interval"             = "10"
      "workers.min_heartbeat_interval"   = "1"
      "secrets.backend"                  = "airflow.providers.amazon.aws.secrets.secrets_manager.SecretsManagerBackend"
      "secrets.backend_kwargs"           = "{\"config_prefix\":null,\"connections_prefix\":\"airflow/connections\",\"variables_prefix\":null}"
    })
    error_message = "DAGs start when asked to, see soon that something ended, and find the connection to Slack in Secrets Manager."
  }
  assert {
    condition = alltrue([for part in [
      aws_mwaa_environment.this.logging_configuration[0].dag_processing_logs,
      aws_mwaa_environment.this.logging_configuration[0].scheduler_logs,
      aws_mwaa_environment.this.logging_configuration[0].task_logs,
      aws_mwaa_environment.this.logging_configuration[0].webserver_logs,
      aws_mwaa_environment.this.logging_configuration[0].worker_logs,
    ] : part[0].enabled && part[0].log_level == "INFO"])
    error_message = "All five parts log."
  }
  assert {
    condition = join(" ", sort([for group in aws_cloudwatch_log_group.this : group.name if group.retention_in_days == 365 && group.kms_key_id == var.kms_key_arn])) == join(" ", [
      "airflow-ml-ops-prod-DAGProcessing", "airflow-ml-ops-prod-Scheduler", "airflow-ml-ops-prod-Task", "airflow-ml-ops-prod-WebServer", "airflow-ml-ops-prod-Worker",
    ])
    error_message = "Into groups of the names MWAA uses, encrypted, and not kept for ever."
  }
  assert {
    condition     = output.webserver_url == "https://0a1b.c2.eu-west-1.airflow.amazonaws.com"
    error_message = "The address of Airflow is one that a person can open."
  }
}

run "bucket" {
  command = plan

  module {
    source = "../modules/airflow"
  }

  assert {
    condition     = join(" ", keys(aws_s3_object.dags)) == join(" ", sort(concat([".airflowignore"], tolist(fileset("./tests/airflow/dags", "*.py"))))) && contains(keys(aws_s3_object.dags), "model_training.py") && aws_s3_object.dags["run_tasks.py"].key == "dags/run_tasks.py"
    error_message = "Every file of the DAG folder is an object, and nothing else is."
  }
  assert {
    condition     = aws_s3_object.dags["run_tasks.py"].source_hash == filesha256("./tests/airflow/dags/run_tasks.py") && nonsensitive(aws_s3_object.dags["run_tasks.py"].content_base64) == filebase64("./tests/airflow/dags/run_tasks.py")
    error_message = "The plan holds the file, and shows its hash."
  }
  assert {
    condition     = module.private.bucket == aws_s3_bucket.this.id && aws_s3_object.requirements.bucket == module.private.bucket && jsondecode(module.private.policy).Statement[0].Condition == { Bool = { "aws:SecureTransport" = "false" } }
    error_message = "The bucket is versioned, closed and encrypted before anything is in it, and nobody reads it without TLS."
  }
  assert {
    condition     = one([for rule in aws_s3_bucket_lifecycle_configuration.this[0].rule : rule.noncurrent_version_expiration[0].noncurrent_days if rule.id == "noncurrent-versions"]) == 90
    error_message = "Overwritten files expire."
  }
}

run "role" {
  command = plan

  module {
    source = "../modules/airflow"
  }

  assert {
    condition = { for statement in jsondecode(aws_iam_role_policy.dags.policy).Statement : statement.Sid => flatten([statement.Resource]) if contains(["KeepWhoWasTold", "ReadSlackConnection", "TellPeople"], statement.Sid) } == {
      KeepWhoWasTold = ["arn:aws:s3:::ml-ops-prod-111122223333/*/told/*.json"]
      ReadSlackConnection = [
        "arn:aws:secretsmanager:eu-west-1:111122223333:secret:airflow/connections/slack-abcdef",
        "arn:aws:secretsmanager:eu-west-1:111122223333:secret:airflow/connections/slack_*",
      ]
      TellPeople = ["arn:aws:sns:eu-west-1:111122223333:ml-ops-notifications", "arn:aws:sns:eu-west-1:111122223333:ml-ops-notifications-*"]
    }
    error_message = "DAGs tell every channel of the platform, nobody else, and note it."
  }
  assert {
    condition = { for statement in jsondecode(aws_iam_role_policy.dags.policy).Statement : statement.Sid => [statement.Action, statement.Resource] if contains(["KeepRecipe", "SeeDriftAlarms"], statement.Sid) } == {
      KeepRecipe     = ["s3:PutObject", "arn:aws:s3:::ml-ops-prod-111122223333/*/*/recipe.json"]
      SeeDriftAlarms = ["cloudwatch:DescribeAlarms", "arn:aws:cloudwatch:eu-west-1:111122223333:alarm:*"]
    }
    error_message = "DAGs keep recipes, and see alarms without changing them."
  }
  assert {
    condition = jsondecode(aws_iam_role.this.assume_role_policy).Statement[0].Condition == {
      StringEquals = { "aws:SourceAccount" = "111122223333" }
      ArnLike      = { "aws:SourceArn" = "arn:aws:airflow:eu-west-1:111122223333:environment/ml-ops-prod" }
    }
    error_message = "Only this environment takes the role."
  }
  assert {
    condition     = aws_iam_role.this.permissions_boundary == var.permissions_boundary
    error_message = "It can never do more than the boundary."
  }
  assert {
    condition     = one([for statement in jsondecode(aws_iam_role_policy.dags.policy).Statement : [statement.Resource, statement.Condition] if statement.Sid == "HandRoleToSageMaker"]) == [var.sagemaker_role_arn, { StringEquals = { "iam:PassedToService" = "sagemaker.amazonaws.com" } }]
    error_message = "SageMaker's role goes to SageMaker alone."
  }
  assert {
    condition = alltrue([for statement in concat(jsondecode(aws_iam_role_policy.dags.policy).Statement, jsondecode(aws_iam_role_policy.mwaa.policy).Statement) :
      !contains(flatten([statement.Resource]), "*") || contains(["FindVersions", "SeeWhetherBucketsAreClosed", "WriteMetrics"], statement.Sid)
    ])
    error_message = "Every statement names its resources, apart from those whose actions know none."
  }
  assert {
    condition     = one([for statement in jsondecode(aws_iam_role_policy.mwaa.policy).Statement : statement.Resource if statement.Sid == "UseKey"]) == var.kms_key_arn
    error_message = "It uses our key."
  }
  assert {
    condition     = length(replace(aws_iam_role_policy.dags.policy, " ", "")) + length(replace(aws_iam_role_policy.mwaa.policy, " ", "")) < 10240
    error_message = "A role's own policies may have 10,240 characters together."
  }
}

run "quick_and_without_key" {
  command = plan

  module {
    source = "../modules/airflow"
  }

  variables {
    kms_key_arn             = null
    noncurrent_version_days = null
    check_interval          = 5
    min_heartbeat_interval  = 2
    configuration_options   = { "celery.worker_autoscale" = "5,5", "core.dags_are_paused_at_creation" = "True" }
  }

  assert {
    condition     = length(aws_s3_bucket_lifecycle_configuration.this) == 0 && module.private.bucket == aws_s3_bucket.this.id
    error_message = "What the provider waits long for is left out, and the bucket is private all the same."
  }
  assert {
    condition     = one([for statement in jsondecode(aws_iam_role_policy.mwaa.policy).Statement : statement.Condition.StringNotEquals if statement.Sid == "UseKeyOfQueue"]) == { "aws:ResourceAccount" = "111122223333" }
    error_message = "MWAA's own key opens the queue, and no key of this account is opened."
  }
  assert {
    condition     = aws_mwaa_environment.this.airflow_configuration_options["celery.worker_autoscale"] == "5,5" && aws_mwaa_environment.this.airflow_configuration_options["core.dags_are_paused_at_creation"] == "False"
    error_message = "Options are added, and cannot undo what the DAGs need."
  }
  assert {
    condition     = aws_mwaa_environment.this.airflow_configuration_options["mlops.check_interval"] == "5" && aws_mwaa_environment.this.airflow_configuration_options["workers.min_heartbeat_interval"] == "2"
    error_message = "How often tasks look, and how long their supervisors wait, can be chosen."
  }
}

run "refuses_bad_values" {
  command = plan

  module {
    source = "../modules/airflow"
  }

  variables {
    permissions_boundary    = "ml-ops-boundary"
    access_log_bucket       = "Logs"
    environment_name        = "1st"
    role_name               = "a role"
    bucket_name             = "Bucket"
    package                 = "./tests"
    airflow_version         = "2.10.3"
    environment_class       = "mw1.huge"
    min_workers             = 0
    maintenance_start       = "Sunday"
    check_interval          = 4
    min_heartbeat_interval  = 0
    configuration_options   = { "secrets.backend" = "mine" }
    subnet_ids              = ["subnet-1"]
    security_group_ids      = []
    platform_bucket_arn     = "ml-ops-prod"
    data_prefix             = "data"
    sagemaker_role_arn      = "role"
    settings_parameter      = "settings"
    slack_secret_arn        = "airflow/connections/slack"
    topic_arn               = "ml-ops-notifications"
    kms_key_arn             = "alias/key"
    log_retention_days      = 8
    noncurrent_version_days = 0
  }

  expect_failures = [
    var.permissions_boundary,
    var.access_log_bucket,
    var.environment_name,
    var.role_name,
    var.bucket_name,
    var.package,
    var.airflow_version,
    var.environment_class,
    var.min_workers,
    var.maintenance_start,
    var.check_interval,
    var.min_heartbeat_interval,
    var.configuration_options,
    var.subnet_ids,
    var.security_group_ids,
    var.platform_bucket_arn,
    var.data_prefix,
    var.sagemaker_role_arn,
    var.settings_parameter,
    var.slack_secret_arn,
    var.topic_arn,
    var.kms_key_arn,
    var.log_retention_days,
    var.noncurrent_version_days,
  ]
}

run "refuses_too_many_workers" {
  command = plan

  module {
    source = "../modules/airflow"
  }

  variables {
    max_workers = 26
  }

  expect_failures = [var.max_workers]
}
