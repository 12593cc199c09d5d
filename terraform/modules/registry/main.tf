# One repository a model. The registry is the source of truth for versions, so a tag is never moved.

resource "aws_ecr_repository" "this" {
  for_each = var.repositories

  name                 = each.value
  image_tag_mutability = "IMMUTABLE"
  force_delete         = var.force_delete

  # mlops containerize lets no other project's code become a version.
  tags = { for name, path in var.gitlab_projects : "mlops:gitlab-project" => path if name == each.value }

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = var.kms_key_arn == null ? "AES256" : "KMS"
    kms_key         = var.kms_key_arn
  }
}

# Only images without any tag expire. A rule for merge requests' tags would be wrong: unchanged content keeps
# its image, so a released version may carry a merge request's tag as well.
resource "aws_ecr_lifecycle_policy" "this" {
  for_each = var.expire_after_days == null ? [] : var.repositories

  repository = aws_ecr_repository.this[each.value].name
  policy = jsonencode({
    rules = [
      {
        rulePriority = 1
        description  = "Images without a tag: what an interrupted push left"
        selection = {
          tagStatus   = "untagged"
          countType   = "sinceImagePushed"
          countUnit   = "days"
          countNumber = var.expire_after_days
        }
        action = { type = "expire" }
      },
    ]
  })
}
