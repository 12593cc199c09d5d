variable "name" {
  description = "The key's alias, without `alias/`."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,240}$", var.name)) && !startswith(var.name, "aws")
    error_message = "name must have at most 240 letters, digits, hyphens and underscores, and not begin with aws."
  }
}

variable "publishers" {
  description = "The AWS services that publish to topics encrypted with the key, for this account only."
  type        = set(string)
  default     = ["budgets.amazonaws.com", "cloudwatch.amazonaws.com"]
  nullable    = false

  # EventBridge sends no aws:SourceAccount to KMS, so it would need a statement of its own.
  validation {
    condition     = length(var.publishers) > 0 && alltrue([for name in var.publishers : can(regex("^[a-z-]+\\.amazonaws\\.com$", name)) && name != "events.amazonaws.com"])
    error_message = "Name at least one service such as cloudwatch.amazonaws.com; not events.amazonaws.com, which names no account."
  }
}

variable "deletion_window_days" {
  description = "Days in which a key that was destroyed can be had back, and everything it encrypted with it."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.deletion_window_days >= 7 && var.deletion_window_days <= 30 && floor(var.deletion_window_days) == var.deletion_window_days
    error_message = "deletion_window_days must be a whole number from 7 to 30."
  }
}
