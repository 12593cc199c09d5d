variable "name" {
  description = "The budget's name."
  type        = string
  nullable    = false

  # https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_budgets_Budget.html
  validation {
    condition     = can(regex("^[^:\\\\/]{1,100}$", var.name))
    error_message = "name must have at most 100 characters, none of them a colon, slash or backslash."
  }
}

variable "monthly_usd" {
  description = "What the account may cost in a month, in US dollars."
  type        = number
  nullable    = false

  validation {
    condition     = var.monthly_usd > 0
    error_message = "monthly_usd must be more than 0."
  }
}

variable "actual_percent" {
  description = "The shares of the budget, in percent, that are announced when they are spent."
  type        = set(number)
  default     = [80, 100]
  nullable    = false

  # Budgets allow 5 notifications, one of which is the forecast.
  validation {
    condition     = length(var.actual_percent) >= 1 && length(var.actual_percent) <= 4 && alltrue([for share in var.actual_percent : share > 0 && share <= 1000])
    error_message = "actual_percent must be 1 to 4 shares above 0 and at most 1000."
  }
}

variable "email_addresses" {
  description = "Who hears of it by e-mail, at most 10."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = length(var.email_addresses) <= 10 && alltrue([for address in var.email_addresses : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", address)) && length(address) <= 50])
    error_message = "email_addresses must be at most 10 e-mail addresses of at most 50 characters."
  }
}

variable "topic_arn" {
  description = "The SNS topic that hears of it; its policy must let budgets.amazonaws.com publish."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$", var.topic_arn))
    error_message = "topic_arn must be the ARN of a topic."
  }
}
