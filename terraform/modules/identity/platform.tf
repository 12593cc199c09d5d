# What this repository's own pipeline may do: `plan` reads what Terraform manages, `apply` changes it. Neither may
# change itself, the boundary or the trust in GitLab: an administrator does.

locals {
  buckets = "arn:${local.partition}:s3:::${var.name}-*-${local.account}"
  managed = [local.buckets, "${local.buckets}-logs"]
  state   = "arn:${local.partition}:s3:::${var.state_bucket}"

  # Everything else is named after the platform.
  owned = {
    repositories = "arn:${local.partition}:ecr:${local.suffix}:repository/*"
    functions    = "arn:${local.partition}:lambda:${local.suffix}:function:${var.name}-*"
    topics       = "arn:${local.partition}:sns:${local.suffix}:${var.name}-*"
    queues       = "arn:${local.partition}:sqs:${local.suffix}:${var.name}-*"
    secrets      = "arn:${local.partition}:secretsmanager:${local.suffix}:secret:airflow/*"
    parameters   = "arn:${local.partition}:ssm:${local.suffix}:parameter/${var.name}/*"
    keys         = "arn:${local.partition}:kms:${local.suffix}:key/*"
    aliases      = "arn:${local.partition}:kms:${local.suffix}:alias/${var.name}*"
    logs         = "arn:${local.partition}:logs:${local.suffix}:log-group:*"
    alarms       = "arn:${local.partition}:cloudwatch:${local.suffix}:alarm:*"
    dashboards   = "arn:${local.partition}:cloudwatch::${local.account}:dashboard/${var.name}*"
    airflow      = "arn:${local.partition}:airflow:${local.suffix}:environment/${var.airflow_environment}"
    budgets      = "arn:${local.partition}:budgets::${local.account}:budget/${var.name}*"
    streams      = "arn:${local.partition}:cloudwatch:${local.suffix}:metric-stream/${var.name}-*"
    rules        = "arn:${local.partition}:events:${local.suffix}:rule/${var.name}-*"
    groups       = "arn:${local.partition}:sagemaker:${local.suffix}:model-package-group/*"
    schedules    = "arn:${local.partition}:scheduler:${local.suffix}:schedule*/${var.name}*"
    roles        = "${local.iam}:role/${var.name}-*"
    policies     = "${local.iam}:policy/${var.name}-*"
    network      = "arn:${local.partition}:ec2:${local.suffix}:*/*"
  }
  itself = [for purpose in local.platform_roles : "${local.iam}:role/${var.name}-${purpose}"]

  platform_statements = {
    state = [
      {
        Sid      = "ReadState"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = "${local.state}/${var.state_key}"
      },
      {
        Sid      = "FindState"
        Effect   = "Allow"
        Action   = "s3:ListBucket"
        Resource = local.state
      },
      {
        Sid      = "LockState"
        Effect   = "Allow"
        Action   = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
        Resource = "${local.state}/${var.state_key}.tflock"
      },
    ]

    read = [
      {
        Sid    = "ReadBuckets"
        Effect = "Allow"
        Action = [
          "s3:GetAccelerateConfiguration", "s3:GetBucketAcl", "s3:GetBucketCORS", "s3:GetBucketLocation", "s3:GetBucketLogging",
          "s3:GetBucketNotification", "s3:GetBucketObjectLockConfiguration", "s3:GetBucketOwnershipControls",
          "s3:GetBucketPolicy", "s3:GetBucketPublicAccessBlock", "s3:GetBucketRequestPayment", "s3:GetBucketTagging",
          "s3:GetBucketVersioning", "s3:GetBucketWebsite", "s3:GetEncryptionConfiguration",
          "s3:GetLifecycleConfiguration", "s3:GetReplicationConfiguration", "s3:ListBucket",
        ]
        Resource = local.managed
      },
      {
        # The DAGs and their packages, which Terraform uploads; not data, models or evidence.
        Sid      = "ReadDags"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:GetObjectTagging", "s3:GetObjectVersion"]
        Resource = "arn:${local.partition}:s3:::${var.name}-airflow-*/*"
      },
      {
        Sid    = "ReadIdentities"
        Effect = "Allow"
        Action = [
          "iam:GetOpenIDConnectProvider", "iam:GetPolicy", "iam:GetPolicyVersion", "iam:GetRole", "iam:GetRolePolicy",
          "iam:ListAttachedRolePolicies", "iam:ListInstanceProfilesForRole", "iam:ListPolicyVersions", "iam:ListRolePolicies",
        ]
        Resource = [local.owned.roles, local.owned.policies, local.provider]
      },
      {
        Sid    = "ReadServices"
        Effect = "Allow"
        Action = [
          "airflow:GetEnvironment",
          "budgets:ListTagsForResource", "budgets:ViewBudget",
          "cloudwatch:DescribeAlarms", "cloudwatch:GetDashboard", "cloudwatch:GetMetricStream", "cloudwatch:ListTagsForResource",
          "ecr:DescribeRepositories", "ecr:GetLifecyclePolicy", "ecr:GetRepositoryPolicy", "ecr:ListImages", "ecr:ListTagsForResource",
          "events:DescribeRule", "events:ListTagsForResource", "events:ListTargetsByRule",
          "kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListResourceTags",
          "lambda:GetAlias", "lambda:GetFunction", "lambda:GetFunctionCodeSigningConfig", "lambda:GetFunctionConcurrency",
          "lambda:GetFunctionConfiguration", "lambda:GetFunctionEventInvokeConfig", "lambda:GetPolicy", "lambda:ListTags",
          "lambda:ListVersionsByFunction",
          "logs:DescribeLogGroups", "logs:DescribeMetricFilters", "logs:DescribeSubscriptionFilters", "logs:ListTagsForResource",
          "sagemaker:DescribeModelPackageGroup", "sagemaker:GetModelPackageGroupPolicy", "sagemaker:ListTags",
          "scheduler:GetSchedule", "scheduler:GetScheduleGroup", "scheduler:ListTagsForResource",
          "secretsmanager:DescribeSecret", "secretsmanager:GetResourcePolicy",
          "sns:GetSubscriptionAttributes", "sns:GetTopicAttributes", "sns:ListSubscriptionsByTopic", "sns:ListTagsForResource",
          "sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:ListQueueTags",
          "ssm:GetParameter", "ssm:GetParameters", "ssm:ListTagsForResource",
        ]
        Resource = [for name in sort(setsubtract(keys(local.owned), ["network", "roles", "policies"])) : local.owned[name]]
      },
      {
        # What the plan compares: without it, Lambda hides its environment, and S3 its DAGs. Secrets stay closed.
        Sid      = "ReadThroughServices"
        Effect   = "Allow"
        Action   = "kms:Decrypt"
        Resource = local.owned.keys
        Condition = {
          "ForAnyValue:StringEquals" = { "kms:ResourceAliases" = "alias/${var.name}" }
          StringEquals               = { "kms:ViaService" = [for service in ["lambda", "s3"] : "${service}.${local.region}.amazonaws.com"] }
        }
      },
      {
        # A plan refuses to give up a model that is deployed.
        Sid      = "SeeDeployedModels"
        Effect   = "Allow"
        Action   = "sagemaker:DescribeEndpoint"
        Resource = "${local.sagemaker}:endpoint/*"
      },
      {
        Sid      = "ReadVpc"
        Effect   = "Allow"
        Action   = "ec2:DescribeVpcAttribute"
        Resource = "arn:${local.partition}:ec2:${local.suffix}:vpc/*"
      },
      {
        # None of these knows a resource: they list.
        Sid    = "List"
        Effect = "Allow"
        Action = [
          "ec2:DescribeAddresses", "ec2:DescribeAddressesAttribute", "ec2:DescribeAvailabilityZones", "ec2:DescribeFlowLogs",
          "ec2:DescribeInternetGateways", "ec2:DescribeManagedPrefixLists", "ec2:DescribeNatGateways", "ec2:DescribeNetworkAcls",
          "ec2:DescribeNetworkInterfaces", "ec2:DescribePrefixLists", "ec2:DescribeRouteTables",
          "ec2:DescribeSecurityGroupRules", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcEndpoints",
          "ec2:DescribeVpcs", "kms:ListAliases", "logs:DescribeResourcePolicies", "sagemaker:ListEndpoints",
          "sagemaker:ListModelPackages", "ssm:DescribeParameters",
        ]
        Resource = "*"
      },
    ]

    storage = [
      {
        Sid      = "WriteState"
        Effect   = "Allow"
        Action   = "s3:PutObject"
        Resource = "${local.state}/${var.state_key}"
      },
      {
        Sid    = "ManageBuckets"
        Effect = "Allow"
        Action = [
          "s3:CreateBucket", "s3:DeleteBucket", "s3:DeleteBucketPolicy", "s3:PutBucketLogging", "s3:PutBucketNotification",
          "s3:PutBucketOwnershipControls", "s3:PutBucketPolicy", "s3:PutBucketPublicAccessBlock", "s3:PutBucketTagging",
          "s3:PutBucketVersioning", "s3:PutEncryptionConfiguration", "s3:PutLifecycleConfiguration",
        ]
        Resource = local.managed
      },
      {
        Sid      = "SyncDags"
        Effect   = "Allow"
        Action   = ["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:ListBucketVersions", "s3:PutObject", "s3:PutObjectTagging"]
        Resource = ["arn:${local.partition}:s3:::${var.name}-airflow-*", "arn:${local.partition}:s3:::${var.name}-airflow-*/*"]
      },
      {
        Sid       = "KeepTheStateBucket"
        Effect    = "Deny"
        NotAction = ["s3:DeleteObject", "s3:GetObject", "s3:ListBucket", "s3:PutObject"]
        Resource  = [local.state, "${local.state}/*"]
      },
      {
        Sid    = "ManageStores"
        Effect = "Allow"
        Action = [
          "ecr:CreateRepository", "ecr:DeleteLifecyclePolicy", "ecr:DeleteRepository", "ecr:DeleteRepositoryPolicy",
          "ecr:PutImageScanningConfiguration", "ecr:PutImageTagMutability", "ecr:PutLifecyclePolicy",
          "ecr:SetRepositoryPolicy", "ecr:TagResource", "ecr:UntagResource",
          "secretsmanager:CreateSecret", "secretsmanager:DeleteResourcePolicy", "secretsmanager:DeleteSecret",
          "secretsmanager:PutResourcePolicy", "secretsmanager:TagResource", "secretsmanager:UntagResource",
          "secretsmanager:UpdateSecret",
          "sns:CreateTopic", "sns:DeleteTopic", "sns:SetSubscriptionAttributes", "sns:SetTopicAttributes", "sns:Subscribe",
          "sns:TagResource", "sns:Unsubscribe", "sns:UntagResource",
          "sqs:CreateQueue", "sqs:DeleteQueue", "sqs:SetQueueAttributes", "sqs:TagQueue", "sqs:UntagQueue",
          "ssm:AddTagsToResource", "ssm:DeleteParameter", "ssm:PutParameter", "ssm:RemoveTagsFromResource",
        ]
        Resource = [for name in ["parameters", "queues", "repositories", "secrets", "topics"] : local.owned[name]]
      },
      {
        # A new key has no name to bind this to; the tag is that of the provider's defaults.
        Sid       = "MakeKeys"
        Effect    = "Allow"
        Action    = "kms:CreateKey"
        Resource  = "*"
        Condition = { StringEquals = { "aws:RequestTag/ml-ops:managed-by" = "terraform" } }
      },
      {
        Sid    = "ManageKeys"
        Effect = "Allow"
        Action = [
          "kms:CreateAlias", "kms:CreateGrant", "kms:Decrypt", "kms:DeleteAlias", "kms:EnableKeyRotation", "kms:Encrypt",
          "kms:GenerateDataKey", "kms:ListGrants", "kms:PutKeyPolicy", "kms:RetireGrant", "kms:RevokeGrant",
          "kms:ScheduleKeyDeletion", "kms:TagResource", "kms:UntagResource", "kms:UpdateAlias", "kms:UpdateKeyDescription",
        ]
        Resource  = local.owned.keys
        Condition = { StringEquals = { "aws:ResourceTag/ml-ops:managed-by" = "terraform" } }
      },
      {
        Sid      = "NameKeys"
        Effect   = "Allow"
        Action   = ["kms:CreateAlias", "kms:DeleteAlias", "kms:UpdateAlias"]
        Resource = local.owned.aliases
      },
    ]

    compute = [
      {
        # A role that may make roles may do everything, unless each of them is bounded.
        Sid    = "ManageBoundedRoles"
        Effect = "Allow"
        Action = [
          "iam:AttachRolePolicy", "iam:CreateRole", "iam:DeleteRolePolicy", "iam:DetachRolePolicy",
          "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy",
        ]
        Resource  = local.owned.roles
        Condition = { StringEquals = { "iam:PermissionsBoundary" = local.boundary } }
      },
      {
        Sid    = "DescribeRoles"
        Effect = "Allow"
        Action = [
          "iam:DeleteRole", "iam:TagRole", "iam:UntagRole", "iam:UpdateAssumeRolePolicy", "iam:UpdateRole",
          "iam:UpdateRoleDescription",
        ]
        Resource = local.owned.roles
      },
      {
        # The one policy that changes with the list of models, and which only denies.
        Sid      = "ListProjects"
        Effect   = "Allow"
        Action   = ["iam:CreatePolicy", "iam:CreatePolicyVersion", "iam:DeletePolicy", "iam:DeletePolicyVersion"]
        Resource = "${local.iam}:policy/${var.name}-listed-projects"
      },
      {
        Sid      = "HandRolesToServices"
        Effect   = "Allow"
        Action   = "iam:PassRole"
        Resource = local.owned.roles
        Condition = { StringEquals = { "iam:PassedToService" = [
          "airflow-env.amazonaws.com", "airflow.amazonaws.com", "lambda.amazonaws.com", "logs.amazonaws.com",
          "scheduler.amazonaws.com", "streams.metrics.cloudwatch.amazonaws.com", "vpc-flow-logs.amazonaws.com",
        ] } }
      },
      {
        # A policy that lets a service write logs belongs to the account, and has no name in IAM. Nor has a delivery of
        # logs, which EC2 asks for where flow logs are made:
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/AWS-logs-and-resource-policy.html
        Sid      = "LetServicesWriteLogs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogDelivery", "logs:DeleteLogDelivery", "logs:DeleteResourcePolicy", "logs:PutResourcePolicy"]
        Resource = "*"
      },
      {
        Sid      = "NeverChangeItself"
        Effect   = "Deny"
        Action   = "iam:*"
        Resource = local.itself
      },
      {
        Sid       = "LetMwaaMakeItsOwnRole"
        Effect    = "Allow"
        Action    = "iam:CreateServiceLinkedRole"
        Resource  = "${local.iam}:role/aws-service-role/airflow.amazonaws.com/*"
        Condition = { StringEquals = { "iam:AWSServiceName" = "airflow.amazonaws.com" } }
      },
      {
        Sid    = "ManageServices"
        Effect = "Allow"
        Action = [
          "airflow:CreateEnvironment", "airflow:DeleteEnvironment", "airflow:TagResource", "airflow:UntagResource",
          "airflow:UpdateEnvironment",
          "budgets:ModifyBudget", "budgets:TagResource", "budgets:UntagResource",
          "cloudwatch:DeleteAlarms", "cloudwatch:DeleteDashboards", "cloudwatch:DeleteMetricStream", "cloudwatch:PutDashboard",
          "cloudwatch:PutMetricAlarm", "cloudwatch:PutMetricStream", "cloudwatch:StartMetricStreams", "cloudwatch:StopMetricStreams",
          "cloudwatch:TagResource", "cloudwatch:UntagResource",
          "events:DeleteRule", "events:PutRule", "events:PutTargets", "events:RemoveTargets", "events:TagResource",
          "events:UntagResource",
          "lambda:AddPermission", "lambda:CreateAlias", "lambda:CreateFunction", "lambda:DeleteAlias", "lambda:DeleteFunction",
          "lambda:DeleteFunctionConcurrency", "lambda:DeleteFunctionEventInvokeConfig", "lambda:PublishVersion",
          "lambda:PutFunctionConcurrency", "lambda:PutFunctionEventInvokeConfig", "lambda:RemovePermission",
          "lambda:TagResource", "lambda:UntagResource", "lambda:UpdateAlias", "lambda:UpdateFunctionCode",
          "lambda:UpdateFunctionConfiguration", "lambda:UpdateFunctionEventInvokeConfig",
          "logs:AssociateKmsKey", "logs:CreateLogGroup", "logs:DeleteLogGroup",
          "logs:DeleteMetricFilter", "logs:DeleteRetentionPolicy", "logs:DeleteSubscriptionFilter", "logs:DisassociateKmsKey",
          "logs:PutMetricFilter", "logs:PutRetentionPolicy", "logs:PutSubscriptionFilter", "logs:TagResource",
          "logs:UntagResource",
          "sagemaker:AddTags", "sagemaker:CreateModelPackageGroup", "sagemaker:DeleteModelPackageGroup", "sagemaker:DeleteTags",
          "scheduler:CreateSchedule", "scheduler:CreateScheduleGroup", "scheduler:DeleteSchedule",
          "scheduler:DeleteScheduleGroup", "scheduler:TagResource", "scheduler:UntagResource", "scheduler:UpdateSchedule",
        ]
        Resource = [for name in ["airflow", "alarms", "budgets", "dashboards", "functions", "groups", "logs", "rules", "schedules", "streams"] : local.owned[name]]
      },
    ]

    network = [
      {
        Sid    = "MakeNetwork"
        Effect = "Allow"
        Action = [
          "ec2:AllocateAddress", "ec2:AssociateRouteTable", "ec2:AttachInternetGateway", "ec2:CreateFlowLogs",
          "ec2:CreateInternetGateway", "ec2:CreateNatGateway", "ec2:CreateNetworkInterface", "ec2:CreateRoute",
          "ec2:CreateRouteTable", "ec2:CreateSecurityGroup", "ec2:CreateSubnet", "ec2:CreateTags", "ec2:CreateVpc",
          "ec2:CreateVpcEndpoint",
        ]
        Resource = local.owned.network
      },
      {
        # For endpoints that answer to their services' own names: the zone is AWS's.
        # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
        Sid      = "NameEndpoints"
        Effect   = "Allow"
        Action   = "route53:AssociateVPCWithHostedZone"
        Resource = "arn:${local.partition}:route53:::hostedzone/*"
      },
      {
        # A new rule has no tag yet; its group must have it.
        Sid      = "MakeRules"
        Effect   = "Allow"
        Action   = ["ec2:AuthorizeSecurityGroupEgress", "ec2:AuthorizeSecurityGroupIngress"]
        Resource = "arn:${local.partition}:ec2:${local.suffix}:security-group-rule/*"
      },
      {
        Sid    = "ChangeOwnNetwork"
        Effect = "Allow"
        Action = [
          "ec2:AuthorizeSecurityGroupEgress", "ec2:AuthorizeSecurityGroupIngress", "ec2:DeleteFlowLogs",
          "ec2:DeleteInternetGateway", "ec2:DeleteNatGateway", "ec2:DeleteRoute", "ec2:DeleteRouteTable",
          "ec2:DeleteSecurityGroup", "ec2:DeleteSubnet", "ec2:DeleteTags", "ec2:DeleteVpc", "ec2:DeleteVpcEndpoints",
          "ec2:DetachInternetGateway", "ec2:DisassociateAddress", "ec2:DisassociateRouteTable",
          "ec2:ModifySecurityGroupRules", "ec2:ModifySubnetAttribute", "ec2:ModifyVpcAttribute", "ec2:ModifyVpcEndpoint",
          "ec2:ReleaseAddress", "ec2:ReplaceRoute", "ec2:ReplaceRouteTableAssociation", "ec2:RevokeSecurityGroupEgress",
          "ec2:RevokeSecurityGroupIngress", "ec2:UpdateSecurityGroupRuleDescriptionsEgress",
          "ec2:UpdateSecurityGroupRuleDescriptionsIngress",
        ]
        Resource  = local.owned.network
        Condition = { StringEquals = { "aws:ResourceTag/ml-ops:managed-by" = "terraform" } }
      },
    ]
  }

  platform_policies = { for name, statements in local.platform_statements : name => jsonencode({ Version = "2012-10-17", Statement = statements }) }
}
