# What the jobs of model repositories may do. Each statement is what a stage calls, and no more.

locals {
  projects = sort(distinct([for name in var.repositories : split("/", name)[0]]))

  # Sixty names fit into a policy; more are covered by their projects, below which only Terraform makes repositories.
  repositories = [
    for name in length(var.repositories) <= 60 ? sort(tolist(var.repositories)) : [for project in local.projects : "${project}/*"] :
    "arn:${local.partition}:ecr:${local.suffix}:repository/${name}"
  ]
  objects   = "arn:${local.partition}:s3:::${var.bucket}"
  sagemaker = "arn:${local.partition}:sagemaker:${local.suffix}"

  log_in_to_registry = {
    # ECR knows no resource for this action: the token opens only what other statements allow.
    Sid      = "LogInToRegistry"
    Effect   = "Allow"
    Action   = "ecr:GetAuthorizationToken"
    Resource = "*"
  }

  read_settings = {
    Sid      = "ReadSettings"
    Effect   = "Allow"
    Action   = "ssm:GetParameter"
    Resource = "arn:${local.partition}:ssm:${local.suffix}:parameter${var.settings_parameter}"
  }

  # By the alias of one DAG, the function starts that DAG alone: a job that trains does not deploy.
  call_airflow = {
    for purpose, dags in { train = ["model_training", "model_monitoring"], deploy = ["model_deployment"] } : purpose => {
      Sid                        = "CallTheTrigger"
      Effect                     = "Allow"
      Action                     = "lambda:InvokeFunction"
      Resource                   = [for dag in dags : "arn:${local.partition}:lambda:${local.suffix}:function:${var.trigger_function}:${dag}"]
    }
  }

  # Evidence is JSON beside the model; the model itself and the data stay closed.
  read_evidence = [
    {
      Sid      = "ReadEvidence"
      Effect   = "Allow"
      Action   = "s3:GetObject"
      Resource = [for project in local.projects : "${local.objects}/${project}/*.json"]
    },
    {
      # To those who may not list, S3 says of a missing object that it is forbidden.
      Sid      = "TellMissingObjects"
      Effect   = "Allow"
      Action   = "s3:ListBucket"
      Resource = local.objects
    },
    {
      # A request that is too large for the Lambda travels by way of the bucket.
      Sid      = "SendLargeRequests"
      Effect   = "Allow"
      Action   = "s3:PutObject"
      Resource = [for project in local.projects : "${local.objects}/${project}/*/conf/*.json"]
    },
  ]

  use_key = {
    Sid      = "UseTheKeyThroughServices"
    Effect   = "Allow"
    Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
    Resource = "arn:${local.partition}:kms:${local.suffix}:key/*"
    Condition = {
      "ForAnyValue:StringEquals" = { "kms:ResourceAliases" = "alias/${var.name}" }
      StringEquals               = { "kms:ViaService" = [for service in ["s3", "secretsmanager", "sns", "ssm"] : "${service}.${local.region}.amazonaws.com"] }
    }
  }

  model_statements = {
    build = [
      local.log_in_to_registry,
      {
        Sid    = "BuildImages"
        Effect = "Allow"
        Action = [
          "ecr:BatchCheckLayerAvailability",
          "ecr:BatchGetImage",
          "ecr:CompleteLayerUpload",
          "ecr:DescribeImages",
          "ecr:GetDownloadUrlForLayer",
          "ecr:InitiateLayerUpload",
          "ecr:PutImage",
          "ecr:UploadLayerPart",
        ]
        Resource = local.repositories
      },
      {
        # The GitLab project a model belongs to is a tag of its repository, which no job may change.
        Sid      = "SeeWhoseModelItIs"
        Effect   = "Allow"
        Action   = ["ecr:DescribeRepositories", "ecr:ListTagsForResource"]
        Resource = local.repositories
      },
    ]

    train = concat(local.read_evidence, [
      local.read_settings,
      local.call_airflow.train,
      local.use_key,
      {
        # SageMaker knows no resource for this action; names are all it returns.
        Sid      = "ListModels"
        Effect   = "Allow"
        Action   = "sagemaker:ListModels"
        Resource = "*"
      },
      {
        Sid      = "SeeModelsAndChampion"
        Effect   = "Allow"
        Action   = ["sagemaker:DescribeEndpoint", "sagemaker:DescribeEndpointConfig", "sagemaker:DescribeModel"]
        Resource = local.served
      },
      {
        # What retrain asks: the newest release of each model, and where it is pulled from.
        Sid      = "SeeReleases"
        Effect   = "Allow"
        Action   = ["ecr:DescribeImages", "ecr:DescribeRepositories"]
        Resource = local.repositories
      },
      {
        # CloudWatch answers for many alarms at once, so it wants a permission for all of them.
        Sid      = "SeeDriftAlarms"
        Effect   = "Allow"
        Action   = "cloudwatch:DescribeAlarms"
        Resource = "arn:${local.partition}:cloudwatch:${local.suffix}:alarm:*"
      },
      {
        Sid      = "NotifyByEmail"
        Effect   = "Allow"
        Action   = "sns:Publish"
        Resource = [for topic in [var.topic, "${var.topic}-*"] : "arn:${local.partition}:sns:${local.suffix}:${topic}"]
      },
      {
        # Secrets Manager ends a secret's ARN with six characters of its own. Other channels are named after the default one.
        Sid      = "NotifyBySlack"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = [for end in ["-??????", "_*"] : "arn:${local.partition}:secretsmanager:${local.suffix}:secret:${var.slack_secret}${end}"]
      },
      {
        # One pattern for all projects: sixty would not fit into the policy.
        Sid      = "KeepWhoWasTold"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:PutObject"]
        Resource = "${local.objects}/*/told/*.json"
      },
    ])

    deploy = concat(local.read_evidence, [
      local.read_settings,
      local.call_airflow.deploy,
      local.use_key,
      {
        Sid      = "SeeModelsAndChampion"
        Effect   = "Allow"
        Action   = ["sagemaker:DescribeEndpoint", "sagemaker:DescribeEndpointConfig", "sagemaker:DescribeModel"]
        Resource = local.served
      },
      {
        Sid      = "SeeImages"
        Effect   = "Allow"
        Action   = "ecr:DescribeImages"
        Resource = local.repositories
      },
    ])
  }

  # As versions.resource_name() writes them; a project's name never holds two hyphens in a row.
  served = flatten([
    for project in local.projects : [for kind in ["endpoint", "endpoint-config", "model"] : "${local.sagemaker}:${kind}/${project}--*"]
  ])

  model_policies = {
    for purpose, statements in local.model_statements : purpose => jsonencode({ Version = "2012-10-17", Statement = statements })
  }
}
