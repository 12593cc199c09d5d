mock_provider "aws" {}

run "real_environment" {
  command = plan

  module {
    source = "../modules/registry"
  }

  variables {
    repositories    = ["fraud/card-payments", "web-safety/phishing-url"]
    gitlab_projects = { "web-safety/phishing-url" = "models/phishing-url" }
  }

  assert {
    condition     = { for name, repository in aws_ecr_repository.this : name => try(repository.tags["mlops:gitlab-project"], null) } == { "fraud/card-payments" = null, "web-safety/phishing-url" = "models/phishing-url" }
    error_message = "A model's GitLab project is a tag of its repository; without a project there is no tag."
  }
  assert {
    condition     = keys(aws_ecr_repository.this) == ["fraud/card-payments", "web-safety/phishing-url"]
    error_message = "One repository a model."
  }
  assert {
    condition     = alltrue([for repository in aws_ecr_repository.this : repository.image_tag_mutability == "IMMUTABLE"])
    error_message = "A version's tag must never move."
  }
  assert {
    condition     = alltrue([for repository in aws_ecr_repository.this : repository.image_scanning_configuration[0].scan_on_push && !repository.force_delete])
    error_message = "Images are scanned, and not deleted with their repository."
  }
  assert {
    condition = alltrue(flatten([
      for policy in aws_ecr_lifecycle_policy.this : [for rule in jsondecode(policy.policy).rules : rule.selection.tagStatus == "untagged"]
    ]))
    error_message = "No rule may ever select a tagged image: released versions never expire."
  }
}

run "own_key" {
  command = plan

  module {
    source = "../modules/registry"
  }

  variables {
    repositories = ["web-safety/phishing-url"]
    kms_key_arn  = "arn:aws:kms:eu-west-1:111122223333:key/0a1b2c3d-0000-1111-2222-333344445555"
  }

  assert {
    condition     = one(aws_ecr_repository.this["web-safety/phishing-url"].encryption_configuration) == { encryption_type = "KMS", kms_key = var.kms_key_arn }
    error_message = "A key that is given must be used."
  }
}

run "quick" {
  command = plan

  module {
    source = "../modules/registry"
  }

  variables {
    repositories      = ["web-safety/phishing-url"]
    expire_after_days = null
  }

  assert {
    condition     = length(aws_ecr_lifecycle_policy.this) == 0
    error_message = "Null leaves the lifecycle out."
  }
}

run "refuses_bad_values" {
  command = plan

  module {
    source = "../modules/registry"
  }

  variables {
    repositories      = ["web-safety/phishing--url"]
    expire_after_days = 1.5
    kms_key_arn       = "alias/mine"
  }

  expect_failures = [var.repositories, var.expire_after_days, var.kms_key_arn]
}

run "refuses_projects_that_cannot_be" {
  command = plan

  module {
    source = "../modules/registry"
  }

  variables {
    repositories    = ["web-safety/phishing-url"]
    gitlab_projects = { "web-safety/phishing-url" = "models/*" }
  }

  expect_failures = [var.gitlab_projects]
}

run "refuses_the_project_of_a_repository_that_is_not_there" {
  command = plan

  module {
    source = "../modules/registry"
  }

  variables {
    repositories    = ["web-safety/phishing-url"]
    gitlab_projects = { "web-safety/phishing" = "models/phishing-url" }
  }

  expect_failures = [var.gitlab_projects]
}
