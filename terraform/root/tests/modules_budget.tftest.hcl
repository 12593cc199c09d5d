mock_provider "aws" {}

variables {
  name            = "ml-ops"
  monthly_usd     = 1000
  email_addresses = ["finance@example.com"]
  topic_arn       = "arn:aws:sns:eu-west-1:111122223333:ml-ops-notifications"
}

run "announces_what_is_spent_and_forecast" {
  command = plan

  module {
    source = "../modules/budget"
  }

  assert {
    condition     = aws_budgets_budget.this.limit_amount == "1000.0" && aws_budgets_budget.this.time_unit == "MONTHLY"
    error_message = "The budget is of a month."
  }
  assert {
    condition = toset([for notice in aws_budgets_budget.this.notification : "${notice.notification_type} ${notice.threshold}"]) == toset([
      "ACTUAL 80", "ACTUAL 100", "FORECASTED 100",
    ])
    error_message = "Two shares that are spent are announced, and a forecast above the budget."
  }
  assert {
    condition     = alltrue([for notice in aws_budgets_budget.this.notification : notice.subscriber_sns_topic_arns == toset([var.topic_arn]) && notice.subscriber_email_addresses == toset(["finance@example.com"])])
    error_message = "Everybody hears of each."
  }
}

run "refuses_bad_values" {
  command = plan

  module {
    source = "../modules/budget"
  }

  variables {
    name            = "ml-ops/budget"
    monthly_usd     = 0
    actual_percent  = []
    email_addresses = ["finance"]
    topic_arn       = "ml-ops-notifications"
  }

  expect_failures = [
    var.name,
    var.monthly_usd,
    var.actual_percent,
    var.email_addresses,
    var.topic_arn,
  ]
}
