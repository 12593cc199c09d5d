# Who may do what: one role a purpose, taken by GitLab's jobs with a token GitLab signs for the job. No key lasts.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.name
  suffix    = "${local.region}:${local.account}"
  iam       = "arn:${local.partition}:iam::${local.account}"

  # What the provider's ARN and its condition keys are called by.
  issuer   = replace(var.gitlab_url, "/^https?:\\/\\//", "")
  audience = coalesce(var.audience, var.gitlab_url)
  provider = "${local.iam}:oidc-provider/${local.issuer}"
  boundary = "${local.iam}:policy/${var.name}-boundary"

  # One audience a purpose: the token of a job that builds opens no role that trains or deploys. AWS reads no other
  # claim that keeps them apart. The platform's own jobs have the audience alone.
  model_roles = ["build", "train", "deploy"]
  audiences = merge(
    { for purpose in local.platform_roles : purpose => [local.audience] },
    { for purpose in local.model_roles : purpose => concat(["${local.audience}/${purpose}"], var.shared_audience ? [local.audience] : []) },
  )

  # A branch's name holds no colon, so nobody can put more into `sub` than GitLab does.
  branch = "ref_type:branch:ref:${var.protected_branch}"
  # Jobs without an environment have other words here, or none.
  branches     = var.deployment_tier == null ? [local.branch] : [local.branch, "${local.branch}:*"]
  environments = var.deployment_tier == null ? "" : ":environment_protected:true:deployment_tier:${coalesce(var.deployment_tier, "none")}"

  refs = {
    build  = var.merge_requests ? ["ref_type:branch:ref:*"] : local.branches
    train  = var.merge_requests ? ["ref_type:branch:ref:*"] : local.branches
    deploy = ["${local.branch}${local.environments}"]
    plan   = ["ref_type:branch:ref:*"]
    apply  = ["${local.branch}${local.environments}"]
  }
  platform_roles = ["plan", "apply"]
  model_projects = sort(tolist(var.model_projects))

  subjects = {
    for purpose, refs in local.refs : purpose => flatten([
      for project in contains(local.platform_roles, purpose) ? [var.platform_project] : local.model_projects : [
        for ref in refs : "project_path:${project}:${ref}"
      ]
    ])
  }

  # IAM takes 2,048 characters of trust. Where the projects do not fit, their groups are trusted, and a policy
  # of each role denies everything to other projects of these groups: `sub` lasts as long as the session.
  # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html#condition-keys-wif
  groups  = sort(distinct([for project in local.model_projects : dirname(project)]))
  too_big = { for purpose, subjects in local.subjects : purpose => length(jsonencode(subjects)) > (var.downstream_project == null ? 1640 : 1130) - (var.shared_audience ? 2 * length(local.audience) + 20 : 0) }
  trusted = {
    for purpose, subjects in local.subjects : purpose => !local.too_big[purpose] ? subjects : flatten([
      for group in local.groups : [for ref in local.refs[purpose] : "project_path:${group}/*:${ref}"]
    ])
  }
  # Jobs of models in the platform's project have an audience of their own: no other claim that AWS reads keeps
  # them from the platform's own jobs, which plan and apply. Only the protected branch says which audience a job has.
  downstream_audience = "${var.gitlab_url}/downstream"
  downstream_audiences = var.downstream_project == null ? {} : {
    for purpose in local.model_roles : purpose => concat(["${local.downstream_audience}/${purpose}"], var.shared_audience ? [local.downstream_audience] : [])
  }
  downstream = var.downstream_project == null ? {} : {
    for purpose, refs in { build = local.branches, train = local.branches, deploy = ["${local.branch}${local.environments}"] } :
    purpose => [for ref in refs : "project_path:${var.downstream_project}:${ref}"]
  }

  others_denied = anytrue(values(local.too_big)) ? toset(["listed-projects"]) : []

  trust = {
    for purpose, subjects in local.trusted : purpose => jsonencode({
      Version = "2012-10-17"
      Statement = [for one in concat(
        [{ audiences = local.audiences[purpose], subjects = subjects }],
        [for more in try([local.downstream[purpose]], []) : { audiences = local.downstream_audiences[purpose], subjects = more }],
        ) : {
        Effect    = "Allow"
        Principal = { Federated = local.provider }
        Action    = "sts:AssumeRoleWithWebIdentity"
        # AWS knows these two claims of GitLab's tokens, and no other.
        Condition = merge(
          strcontains(join("", one.subjects), "*") ? { StringLike = { "${local.issuer}:sub" = one.subjects } } : {},
          { StringEquals = merge(
            { "${local.issuer}:aud" = jsondecode(length(one.audiences) == 1 ? jsonencode(one.audiences[0]) : jsonencode(one.audiences)) },
            strcontains(join("", one.subjects), "*") ? {} : { "${local.issuer}:sub" = one.subjects },
          ) },
        )
      }]
    })
  }
}

# AWS checks GitLab's certificate by its own list of authorities; a thumbprint would only be read for a private one.
# https://docs.aws.amazon.com/IAM/latest/APIReference/API_UpdateOpenIDConnectProviderThumbprint.html
resource "aws_iam_openid_connect_provider" "gitlab" {
  url            = "https://${local.issuer}"
  client_id_list = distinct(concat([local.audience], flatten(values(local.audiences)), flatten(values(local.downstream_audiences))))
}

resource "aws_iam_role" "models" {
  for_each = { build = "Builds and pushes images", train = "Starts trainings and reports on them", deploy = "Deploys models" }

  name                 = "${var.name}-${each.key}"
  description          = "${each.value}; taken by jobs of model repositories"
  permissions_boundary = aws_iam_policy.boundary.arn
  assume_role_policy   = local.trust[each.key]

  lifecycle {
    precondition {
      condition     = length(local.trust[each.key]) <= 2048
      error_message = "IAM takes 2,048 characters of trust: the model repositories lie in too many groups."
    }
  }
}

resource "aws_iam_role_policy" "models" {
  for_each = local.model_policies

  name   = each.key
  role   = aws_iam_role.models[each.key].id
  policy = each.value

  lifecycle {
    precondition {
      condition     = length(each.value) <= 10240
      error_message = "IAM takes 10,240 characters of inline policy: there are too many models and repositories."
    }
  }
}

resource "aws_iam_policy" "listed_projects" {
  for_each = local.others_denied

  name        = "${var.name}-${each.value}"
  description = "Denies everything to projects that models.auto.tfvars does not list"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "OnlyListedProjects"
      Effect    = "Deny"
      Action    = "*"
      Resource  = "*"
      Condition = { StringNotLike = { "${local.issuer}:sub" = [for project in concat(local.model_projects, var.downstream_project[*]) : "project_path:${project}:*"] } }
    }]
  })

  lifecycle {
    precondition {
      condition     = length(jsonencode(local.model_projects)) <= 6144 - 300 - 16 * length(local.model_projects)
      error_message = "IAM takes 6,144 characters of a policy: there are too many GitLab projects."
    }
  }
}

resource "aws_iam_role_policy_attachment" "listed_projects" {
  for_each = length(local.others_denied) == 0 ? {} : aws_iam_role.models

  role       = each.value.name
  policy_arn = one(values(aws_iam_policy.listed_projects)).arn
}

# Nothing the pipeline creates bounds its own two roles: an administrator makes and changes them.
resource "aws_iam_role" "platform" {
  for_each = { plan = "Reads what Terraform manages", apply = "Changes what Terraform manages" }

  name               = "${var.name}-${each.key}"
  description        = "${each.value}; taken by jobs of ${var.platform_project}"
  assume_role_policy = local.trust[each.key]
}

resource "aws_iam_policy" "platform" {
  for_each = local.platform_policies

  name        = "${var.name}-${each.key}"
  description = "Of the pipeline of ${var.platform_project}"
  policy      = each.value

  lifecycle {
    precondition {
      condition     = length(each.value) <= 6144
      error_message = "IAM takes 6,144 characters of a policy."
    }
  }
}

resource "aws_iam_role_policy_attachment" "plan" {
  for_each = toset(["read", "state"])

  role       = aws_iam_role.platform["plan"].name
  policy_arn = aws_iam_policy.platform[each.value].arn
}

resource "aws_iam_role_policy_attachment" "apply" {
  for_each = toset(keys(local.platform_policies))

  role       = aws_iam_role.platform["apply"].name
  policy_arn = aws_iam_policy.platform[each.value].arn
}
