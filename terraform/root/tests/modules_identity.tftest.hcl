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
  mock_resource "aws_iam_policy" {
    override_during = plan
    defaults        = { arn = "arn:aws:iam::111122223333:policy/ml-ops-policy" }
  }
  mock_resource "aws_iam_role" {
    override_during = plan
    defaults        = { arn = "arn:aws:iam::111122223333:role/ml-ops-role", id = "ml-ops-role" }
  }
}

variables {
  gitlab_url          = "https://gitlab.example.com"
  platform_project    = "platform/ml-ops"
  model_projects      = ["models/phishing-url", "fraud/card-payments"]
  repositories        = ["web-safety/phishing-url", "fraud/card-payments"]
  bucket              = "ml-ops-prod-111122223333"
  state_bucket        = "ml-ops-terraform-state-111122223333"
  trigger_function    = "ml-ops-dag-trigger"
  settings_parameter  = "/ml-ops/settings"
  topic               = "ml-ops-notifications"
  slack_secret        = "airflow/connections/slack"
  airflow_environment = "ml-ops-prod"
}

run "trust_names_projects_and_branch" {
  command = plan

  module {
    source = "../modules/identity"
  }

  assert {
    condition = alltrue([for name in ["build", "train", "deploy"] : jsondecode(aws_iam_role.models[name].assume_role_policy).Statement == [{
      Effect    = "Allow"
      Principal = { Federated = "arn:aws:iam::111122223333:oidc-provider/gitlab.example.com" }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = { StringEquals = {
        "gitlab.example.com:aud" = "https://gitlab.example.com/${name}"
        "gitlab.example.com:sub" = [
          "project_path:fraud/card-payments:ref_type:branch:ref:main",
          "project_path:models/phishing-url:ref_type:branch:ref:main",
        ]
      } }
    }]])
    error_message = "Exactly the listed projects, exactly their protected branch, exactly one audience."
  }
  assert {
    condition     = jsondecode(aws_iam_role.platform["apply"].assume_role_policy).Statement[0].Condition.StringEquals["gitlab.example.com:sub"] == ["project_path:platform/ml-ops:ref_type:branch:ref:main"]
    error_message = "Only the protected branch of this repository applies."
  }
  assert {
    condition     = jsondecode(aws_iam_role.platform["plan"].assume_role_policy).Statement[0].Condition.StringLike["gitlab.example.com:sub"] == ["project_path:platform/ml-ops:ref_type:branch:ref:*"]
    error_message = "Every branch of this repository plans, no tag and no other project."
  }
  assert {
    condition     = aws_iam_openid_connect_provider.gitlab.url == "https://gitlab.example.com" && toset(aws_iam_openid_connect_provider.gitlab.client_id_list) == toset(concat(["https://gitlab.example.com"], [for name in ["build", "train", "deploy"] : "https://gitlab.example.com/${name}"]))
    error_message = "One issuer, one audience a purpose, and that of the platform's own jobs."
  }
  assert {
    condition     = alltrue([for name in ["plan", "apply"] : jsondecode(aws_iam_role.platform[name].assume_role_policy).Statement[0].Condition.StringEquals["gitlab.example.com:aud"] == "https://gitlab.example.com"])
    error_message = "The platform's own jobs have the audience without a purpose."
  }
}

run "the_audience_of_older_templates_is_trusted_while_it_is_said_so" {
  command = plan

  module {
    source = "../modules/identity"
  }

  variables {
    shared_audience    = true
    downstream_project = "models/all"
  }

  assert {
    condition = alltrue([for name in ["build", "train", "deploy"] : jsondecode(aws_iam_role.models[name].assume_role_policy).Statement[*].Condition.StringEquals["gitlab.example.com:aud"] == [
      ["https://gitlab.example.com/${name}", "https://gitlab.example.com"],
      ["https://gitlab.example.com/downstream/${name}", "https://gitlab.example.com/downstream"],
    ]])
    error_message = "The old audience beside that of the purpose, and no other purpose's."
  }
  assert {
    condition     = contains(aws_iam_openid_connect_provider.gitlab.client_id_list, "https://gitlab.example.com/downstream")
    error_message = "AWS takes tokens of the old audiences."
  }
}

run "merge_requests_never_deploy" {
  command = plan

  module {
    source = "../modules/identity"
  }

  variables {
    merge_requests = true
    audience       = "sts.amazonaws.com"
    model_projects = ["models/phishing-url"]
  }

  assert {
    condition = alltrue([for name in ["build", "train"] : jsondecode(aws_iam_role.models[name].assume_role_policy).Statement[0].Condition == {
      StringEquals = { "gitlab.example.com:aud" = "sts.amazonaws.com/${name}" }
      StringLike   = { "gitlab.example.com:sub" = ["project_path:models/phishing-url:ref_type:branch:ref:*"] }
    }])
    error_message = "Any branch of the project builds and trains; the wildcard is in the ref alone."
  }
  assert {
    condition     = jsondecode(aws_iam_role.models["deploy"].assume_role_policy).Statement[0].Condition.StringEquals["gitlab.example.com:sub"] == ["project_path:models/phishing-url:ref_type:branch:ref:main"]
    error_message = "No other branch deploys."
  }
  assert {
    condition     = length(aws_iam_policy.listed_projects) == 0
    error_message = "Trust that names the projects needs no denial."
  }
}

run "models_in_the_platforms_project_never_apply_it" {
  command = plan

  module {
    source = "../modules/identity"
  }

  variables {
    downstream_project = "platform/ml-ops"
    model_projects     = ["models/phishing-url"]
    deployment_tier    = "production"
  }

  assert {
    condition = jsondecode(aws_iam_role.models["deploy"].assume_role_policy).Statement[*].Condition == [
      { StringEquals = {
        "gitlab.example.com:aud" = "https://gitlab.example.com/deploy"
        "gitlab.example.com:sub" = ["project_path:models/phishing-url:ref_type:branch:ref:main:environment_protected:true:deployment_tier:production"]
      } },
      { StringEquals = {
        "gitlab.example.com:aud" = "https://gitlab.example.com/downstream/deploy"
        "gitlab.example.com:sub" = ["project_path:platform/ml-ops:ref_type:branch:ref:main:environment_protected:true:deployment_tier:production"]
      } },
    ]
    error_message = "Whoever deploys comes from the protected branch, and with the audience of where it runs."
  }
  assert {
    condition = alltrue([for name in ["build", "train"] : alltrue([
      jsondecode(aws_iam_role.models[name].assume_role_policy).Statement[1].Condition.StringEquals["gitlab.example.com:aud"] == "https://gitlab.example.com/downstream/${name}",
      jsondecode(aws_iam_role.models[name].assume_role_policy).Statement[1].Condition.StringLike["gitlab.example.com:sub"] == [
        "project_path:platform/ml-ops:ref_type:branch:ref:main",
        "project_path:platform/ml-ops:ref_type:branch:ref:main:*",
      ],
    ])])
    error_message = "The downstream project builds and trains from its protected branch alone."
  }
  assert {
    condition = alltrue([for name in ["plan", "apply"] : alltrue([
      length(jsondecode(aws_iam_role.platform[name].assume_role_policy).Statement) == 1,
      jsondecode(aws_iam_role.platform[name].assume_role_policy).Statement[0].Condition.StringEquals["gitlab.example.com:aud"] == "https://gitlab.example.com",
    ])])
    error_message = "No token of a model's job opens the platform's own roles."
  }
  assert {
    condition     = toset(aws_iam_openid_connect_provider.gitlab.client_id_list) == toset(concat(["https://gitlab.example.com"], flatten([for name in ["build", "train", "deploy"] : ["https://gitlab.example.com/${name}", "https://gitlab.example.com/downstream/${name}"]])))
    error_message = "AWS takes tokens of both kinds of audiences."
  }
}

run "one_audience_for_both_is_refused" {
  command = plan

  module {
    source = "../modules/identity"
  }

  variables {
    downstream_project = "platform/ml-ops"
    audience           = "https://gitlab.example.com/downstream"
  }

  expect_failures = [var.downstream_project]
}

run "trust_names_the_environment_where_gitlab_tells_it" {
  command = plan

  module {
    source = "../modules/identity"
  }

  variables {
    deployment_tier  = "production"
    protected_branch = "trunk"
    model_projects   = ["models/phishing-url"]
  }

  assert {
    condition     = jsondecode(aws_iam_role.models["deploy"].assume_role_policy).Statement[0].Condition.StringEquals["gitlab.example.com:sub"] == ["project_path:models/phishing-url:ref_type:branch:ref:trunk:environment_protected:true:deployment_tier:production"]
    error_message = "Deployments run in a protected environment of this tier."
  }
  assert {
    condition     = jsondecode(aws_iam_role.platform["apply"].assume_role_policy).Statement[0].Condition.StringEquals["gitlab.example.com:sub"] == ["project_path:platform/ml-ops:ref_type:branch:ref:trunk:environment_protected:true:deployment_tier:production"]
    error_message = "So does an apply."
  }
  assert {
    condition     = jsondecode(aws_iam_role.models["train"].assume_role_policy).Statement[0].Condition.StringLike["gitlab.example.com:sub"] == ["project_path:models/phishing-url:ref_type:branch:ref:trunk", "project_path:models/phishing-url:ref_type:branch:ref:trunk:*"]
    error_message = "Other jobs need no environment."
  }
}

run "models_reach_what_their_stages_call" {
  command = plan

  module {
    source = "../modules/identity"
  }

  assert {
    condition     = alltrue([for role in values(aws_iam_role.models) : role.permissions_boundary == aws_iam_policy.boundary.arn])
    error_message = "Whatever their policies say, these roles stay below the boundary."
  }
  assert {
    condition = { for statement in jsondecode(aws_iam_role_policy.models["build"].policy).Statement : statement.Sid => flatten([statement.Resource]) } == {
      LogInToRegistry = ["*"]
      BuildImages = [
        "arn:aws:ecr:eu-west-1:111122223333:repository/fraud/card-payments",
        "arn:aws:ecr:eu-west-1:111122223333:repository/web-safety/phishing-url",
      ]
      SeeWhoseModelItIs = [
        "arn:aws:ecr:eu-west-1:111122223333:repository/fraud/card-payments",
        "arn:aws:ecr:eu-west-1:111122223333:repository/web-safety/phishing-url",
      ]
    }
    error_message = "build reaches the registry, of the listed models alone."
  }
  assert {
    condition = length([for action in flatten(concat(
      [for role in values(aws_iam_role_policy.models) : [for statement in jsondecode(role.policy).Statement : statement.Action]],
      [for statement in jsondecode(aws_iam_policy.boundary.policy).Statement : statement.Action if statement.Effect == "Allow"],
    )) : action if can(regex("^ecr:(.*Tag.*Resource|Create.*|Delete.*|.*[*?].*)$", action)) && action != "ecr:ListTagsForResource"]) == 0
    error_message = "Whose model it is, no job may change: not the tag, and not by making the repository anew."
  }
  assert {
    condition = { for name in ["train", "deploy"] : name => flatten([
      for statement in jsondecode(aws_iam_role_policy.models[name].policy).Statement : statement.Resource if statement.Action == "lambda:InvokeFunction"
      ]) } == {
      train  = ["arn:aws:lambda:eu-west-1:111122223333:function:ml-ops-dag-trigger:model_training", "arn:aws:lambda:eu-west-1:111122223333:function:ml-ops-dag-trigger:model_monitoring"]
      deploy = ["arn:aws:lambda:eu-west-1:111122223333:function:ml-ops-dag-trigger:model_deployment"]
    }
    error_message = "train starts trainings and monitoring, and deploy deployments, by the alias of that DAG."
  }
  assert {
    condition = sort([for statement in jsondecode(aws_iam_role_policy.models["deploy"].policy).Statement : statement.Sid]) == tolist([
      "CallTheTrigger", "ReadEvidence", "ReadSettings", "SeeImages", "SeeModelsAndChampion", "SendLargeRequests", "TellMissingObjects", "UseTheKeyThroughServices",
    ])
    error_message = "deploy reads, and asks Airflow; it changes neither SageMaker nor images itself."
  }
  assert {
    condition = [for statement in jsondecode(aws_iam_role_policy.models["train"].policy).Statement : flatten([statement.Resource]) if contains(flatten([statement.Action]), "s3:PutObject")] == [[
      "arn:aws:s3:::ml-ops-prod-111122223333/fraud/*/conf/*.json",
      "arn:aws:s3:::ml-ops-prod-111122223333/web-safety/*/conf/*.json",
    ], ["arn:aws:s3:::ml-ops-prod-111122223333/*/told/*.json"]]
    error_message = "No job writes the evidence that a deployment rests on, nor the recipe."
  }
  assert {
    condition = { for statement in jsondecode(aws_iam_role_policy.models["train"].policy).Statement : statement.Sid => statement.Resource if startswith(statement.Sid, "Notify") } == {
      NotifyByEmail = ["arn:aws:sns:eu-west-1:111122223333:ml-ops-notifications", "arn:aws:sns:eu-west-1:111122223333:ml-ops-notifications-*"]
      NotifyBySlack = [
        "arn:aws:secretsmanager:eu-west-1:111122223333:secret:airflow/connections/slack-??????",
        "arn:aws:secretsmanager:eu-west-1:111122223333:secret:airflow/connections/slack_*",
      ]
    }
    error_message = "Jobs tell every channel of the platform, and nobody else."
  }
  assert {
    condition = { for statement in jsondecode(aws_iam_role_policy.models["train"].policy).Statement : statement.Sid => [statement.Action, statement.Resource] if contains(["SeeReleases", "SeeDriftAlarms"], statement.Sid) } == {
      SeeReleases = [["ecr:DescribeImages", "ecr:DescribeRepositories"], [
        "arn:aws:ecr:eu-west-1:111122223333:repository/fraud/card-payments",
        "arn:aws:ecr:eu-west-1:111122223333:repository/web-safety/phishing-url",
      ]]
      SeeDriftAlarms = ["cloudwatch:DescribeAlarms", "arn:aws:cloudwatch:eu-west-1:111122223333:alarm:*"]
    }
    error_message = "retrain sees releases and alarms, and changes none."
  }
  assert {
    condition = length([for action in flatten([for statement in jsondecode(aws_iam_policy.boundary.policy).Statement : statement.Action if statement.Effect == "Allow"]) :
    action if(startswith(action, "iam:") && action != "iam:PassRole") || startswith(action, "ec2:")]) == 0
    error_message = "No bounded role may touch identities or the network."
  }
}

run "the_pipeline_makes_bounded_roles_only" {
  command = plan

  module {
    source = "../modules/identity"
  }

  assert {
    condition = alltrue([for statement in jsondecode(aws_iam_policy.platform["compute"].policy).Statement :
      try(statement.Condition.StringEquals["iam:PermissionsBoundary"], "") == "arn:aws:iam::111122223333:policy/ml-ops-boundary"
    if length(setintersection(flatten([statement.Action]), ["iam:AttachRolePolicy", "iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy"])) > 0])
    error_message = "Whoever may make roles without a boundary may do everything."
  }
  assert {
    condition = length(setintersection(
      flatten([for policy in values(aws_iam_policy.platform) : [for statement in jsondecode(policy.policy).Statement : statement.Action if statement.Effect == "Allow" && statement.Sid != "ListProjects"]]),
      [
        "iam:CreatePolicy", "iam:CreatePolicyVersion", "iam:SetDefaultPolicyVersion", "iam:DeletePolicy", "iam:DeleteRolePermissionsBoundary",
        "iam:CreateOpenIDConnectProvider", "iam:UpdateOpenIDConnectProviderThumbprint", "iam:AddClientIDToOpenIDConnectProvider",
        "iam:DeleteOpenIDConnectProvider", "iam:CreateUser", "iam:CreateAccessKey",
        "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "sts:AssumeRole",
      ],
    )) == 0
    error_message = "The pipeline changes neither the boundary nor the trust in GitLab, makes no keys, and reads no secret."
  }
  assert {
    condition = [for statement in jsondecode(aws_iam_policy.platform["compute"].policy).Statement : [statement.Effect, join(" ", flatten([statement.Resource]))] if statement.Sid == "NeverChangeItself"] == [
      ["Deny", "arn:aws:iam::111122223333:role/ml-ops-plan arn:aws:iam::111122223333:role/ml-ops-apply"],
    ]
    error_message = "The pipeline's own two roles are an administrator's."
  }
  assert {
    condition     = [for statement in jsondecode(aws_iam_policy.platform["compute"].policy).Statement : statement.Resource if statement.Sid == "ListProjects"] == ["arn:aws:iam::111122223333:policy/ml-ops-listed-projects"]
    error_message = "The one policy it changes is the one that only denies."
  }
  assert {
    condition     = [for statement in jsondecode(aws_iam_policy.platform["network"].policy).Statement : statement.Resource if contains(flatten([statement.Action]), "route53:AssociateVPCWithHostedZone")] == ["arn:aws:route53:::hostedzone/*"]
    error_message = "EC2 asks for this right of whoever makes an endpoint with its service's own name."
  }
  assert {
    condition     = keys(aws_iam_role_policy_attachment.plan) == ["read", "state"]
    error_message = "plan reads, and locks the state."
  }
  assert {
    condition = alltrue([for action in flatten([for name in ["read", "state"] : [for statement in jsondecode(aws_iam_policy.platform[name].policy).Statement : statement.Action]]) :
    can(regex(":(Describe|Get|List|View)", action)) || contains(["kms:Decrypt", "s3:PutObject", "s3:DeleteObject"], action)])
    error_message = "A plan of any branch changes nothing but the lock."
  }
  assert {
    condition = [for statement in jsondecode(aws_iam_policy.platform["state"].policy).Statement : statement.Resource if contains(flatten([statement.Action]), "s3:PutObject")] == [
      "arn:aws:s3:::ml-ops-terraform-state-111122223333/ml-ops/terraform.tfstate.tflock",
    ]
    error_message = "A plan writes the lock, never the state."
  }
}

run "sixty_models_fit" {
  command = plan

  module {
    source = "../modules/identity"
  }

  variables {
    model_projects = [for number in range(60) : "models/group-${number % 3}/a-model-of-the-company-${number}"]
    repositories   = [for number in range(60) : "project-${number % 6}/model-of-company-${number}"]

    downstream_project = "platform/ml-ops"
  }

  assert {
    condition = alltrue(concat(
      [for role in concat(values(aws_iam_role.models), values(aws_iam_role.platform)) : length(role.assume_role_policy) <= 2048],
      [for policy in values(aws_iam_role_policy.models) : length(policy.policy) <= 10240],
      [for policy in concat(values(aws_iam_policy.platform), values(aws_iam_policy.listed_projects), [aws_iam_policy.boundary, aws_iam_policy.people, aws_iam_policy.approvers]) : length(policy.policy) <= 6144],
    ))
    error_message = "IAM's limits hold for sixty models in sixty projects."
  }
  assert {
    condition = jsondecode(aws_iam_role.models["deploy"].assume_role_policy).Statement[0].Condition.StringLike["gitlab.example.com:sub"] == [
      for number in range(3) : "project_path:models/group-${number}/*:ref_type:branch:ref:main"
    ]
    error_message = "Groups are trusted where their projects do not fit."
  }
  assert {
    condition = [for statement in jsondecode(aws_iam_policy.listed_projects["listed-projects"].policy).Statement : [
      statement.Effect, statement.Action, statement.Resource, length(statement.Condition.StringNotLike["gitlab.example.com:sub"])
    ]] == [["Deny", "*", "*", 61]] && keys(aws_iam_role_policy_attachment.listed_projects) == ["build", "deploy", "train"]
    error_message = "And every other project of these groups is denied everything, but not the one that runs their pipelines."
  }
}

run "a_hundred_models_fit" {
  command = plan

  module {
    source = "../modules/identity"
  }

  variables {
    repositories = [for number in range(100) : "project-${number % 5}/model-of-company-${number}"]
  }

  assert {
    condition = [for statement in jsondecode(aws_iam_role_policy.models["build"].policy).Statement : statement.Resource if statement.Sid == "BuildImages"][0] == [
      for number in range(5) : "arn:aws:ecr:eu-west-1:111122223333:repository/project-${number}/*"
    ]
    error_message = "More than sixty repositories are covered by their projects."
  }
}

run "people_only_look" {
  command = plan

  module {
    source = "../modules/identity"
  }

  assert {
    condition = alltrue([for action in flatten([for statement in jsondecode(aws_iam_policy.people.policy).Statement : statement.Action]) :
    can(regex(":(Describe|Filter|Get|List)", action)) || contains(["airflow:CreateWebLoginToken", "kms:Decrypt", "logs:StartQuery"], action)])
    error_message = "People read, and change nothing."
  }
  assert {
    condition = [for statement in jsondecode(aws_iam_policy.people.policy).Statement : contains(statement.Resource, "arn:aws:logs:eu-west-1:111122223333:log-group:/aws/events/ml-ops-sagemaker*")
    if contains(flatten([statement.Action]), "logs:StartQuery")] == [true]
    error_message = "A dashboard's tables of states are queried as whoever looks at them."
  }
}

run "approvers_decide_and_change_nothing_else" {
  command = plan

  module {
    source = "../modules/identity"
  }

  assert {
    condition = alltrue([for statement in jsondecode(aws_iam_policy.approvers.policy).Statement :
      statement.Action == "sagemaker:UpdateModelPackage"
      && statement.Condition.StringEquals == { "sagemaker:ModelApprovalStatus" = ["Approved", "PendingManualApproval", "Rejected"] }
      && statement.Condition.Null["sagemaker:CustomerMetadataProperties/mlops:deployment-uri"] == "true"
    && alltrue([for resource in statement.Resource : can(regex(":model-package/[a-z0-9-]+--\\*/\\*$", resource))])])
    error_message = "Approvers set the state of this platform's versions, not what they are deployed as."
  }
}

run "refuses_bad_values" {
  command = plan

  module {
    source = "../modules/identity"
  }

  variables {
    name                = "ML"
    gitlab_url          = "https://gitlab.example.com/"
    audience            = "https://gitlab.example.com/"
    platform_project    = "platform"
    model_projects      = ["models/*"]
    protected_branch    = "release/*"
    deployment_tier     = "prod"
    repositories        = ["web-safety/*"]
    bucket              = "*"
    state_bucket        = "State"
    state_key           = "/state"
    trigger_function    = "*"
    settings_parameter  = "settings"
    topic               = "a topic"
    slack_secret        = "*"
    airflow_environment = "1st"
  }

  expect_failures = [
    var.name,
    var.gitlab_url,
    var.audience,
    var.platform_project,
    var.model_projects,
    var.protected_branch,
    var.deployment_tier,
    var.repositories,
    var.bucket,
    var.state_bucket,
    var.state_key,
    var.trigger_function,
    var.settings_parameter,
    var.topic,
    var.slack_secret,
    var.airflow_environment,
  ]
}
