variable "repositories" {
  description = "The repositories' names, `<project>/<model>`."
  type        = set(string)
  nullable    = false

  validation {
    condition     = alltrue([for name in var.repositories : can(regex("^[a-z0-9]+(-[a-z0-9]+)*/[a-z0-9]+(-[a-z0-9]+)*$", name))])
    error_message = "Every repository must be named <project>/<model>, in lower-case letters and digits with single hyphens between them."
  }
}

variable "gitlab_projects" {
  description = "The GitLab project that each model belongs to, by its repository's name; a repository without one takes code of any project."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = length(setsubtract(keys(var.gitlab_projects), var.repositories)) == 0
    error_message = "Every name in gitlab_projects must be one of repositories."
  }

  # ECR takes 256 characters of a tag's value: https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-using-tags.html
  validation {
    condition     = alltrue([for path in values(var.gitlab_projects) : length(path) <= 256 && can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+$", path))])
    error_message = "Every GitLab project must be a path such as group/project, of at most 256 characters."
  }
}

variable "kms_key_arn" {
  description = "The KMS key that encrypts images; null for ECR's own key. A repository keeps the key it was made with."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[0-9a-z-]+$", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a key."
  }
}

variable "expire_after_days" {
  description = "Days until images without a tag expire; null leaves the lifecycle out. Tagged images never expire."
  type        = number
  default     = 14

  validation {
    condition     = var.expire_after_days == null || try(var.expire_after_days >= 1 && floor(var.expire_after_days) == var.expire_after_days, false)
    error_message = "expire_after_days must be a whole number from 1, or null."
  }
}

variable "force_delete" {
  description = "Whether destroying a repository deletes its images; only if nothing must last."
  type        = bool
  default     = false
  nullable    = false
}
