mock_provider "aws" {}

variables {
  topic_arn = "arn:aws:sns:eu-west-1:111122223333:ml-ops-notifications"
  watched = {
    "fraud/cards" = {
      name        = "ml-ops-fraud--cards-latency"
      description = "fraud/cards: waits"
      dimensions  = { EndpointName = "fraud--cards" }
    }
  }
}

run "one_metric" {
  command = plan

  module {
    source = "../modules/alarm"
  }

  variables {
    alarm = { namespace = "AWS/SageMaker", metric_name = "Invocations", statistic = "Sum", period = 60, threshold = 3 }
  }

  assert {
    condition     = keys(output.alarms) == ["fraud/cards"] && output.alarms["fraud/cards"].alarm_name == "ml-ops-fraud--cards-latency" && output.alarms["fraud/cards"].alarm_description == "fraud/cards: waits"
    error_message = "There is an alarm for each thing that is watched, under its name."
  }
  assert {
    condition     = output.alarms["fraud/cards"].namespace == "AWS/SageMaker" && output.alarms["fraud/cards"].metric_name == "Invocations" && output.alarms["fraud/cards"].dimensions == tomap({ EndpointName = "fraud--cards" }) && output.alarms["fraud/cards"].statistic == "Sum" && output.alarms["fraud/cards"].period == 60
    error_message = "It watches that metric of that thing."
  }
  assert {
    condition     = output.alarms["fraud/cards"].evaluation_periods == 1 && output.alarms["fraud/cards"].comparison_operator == "GreaterThanThreshold" && output.alarms["fraud/cards"].threshold == 3 && output.alarms["fraud/cards"].treat_missing_data == "notBreaching"
    error_message = "It is raised above its threshold, at once, and not by silence, unless told otherwise."
  }
  assert {
    condition     = output.alarms["fraud/cards"].alarm_actions == toset([var.topic_arn]) && output.alarms["fraud/cards"].ok_actions == toset([var.topic_arn])
    error_message = "It announces itself and its end."
  }
}

run "percentile_without_end" {
  command = plan

  module {
    source = "../modules/alarm"
  }

  variables {
    alarm = { namespace = "AWS/SageMaker", metric_name = "ModelLatency", statistic = "p99", period = 60, threshold = 3, announced = ["ALARM"] }
  }

  assert {
    condition     = output.alarms["fraud/cards"].extended_statistic == "p99" && output.alarms["fraud/cards"].statistic == null && output.alarms["fraud/cards"].evaluate_low_sample_count_percentiles == "ignore"
    error_message = "A percentile of a handful of requests says nothing."
  }
  assert {
    condition     = output.alarms["fraud/cards"].alarm_actions == toset([var.topic_arn]) && output.alarms["fraud/cards"].ok_actions == null
    error_message = "Only what is to be announced is."
  }
}

run "expression" {
  command = plan

  module {
    source = "../modules/alarm"
  }

  variables {
    alarm = {
      namespace  = "AWS/SageMaker"
      expression = { id = "lost", label = "Lost", expression = "all - answered", metrics = { all = "Invocations", answered = "Answers" } }
      statistic  = "Sum"
      period     = 300
      threshold  = 0
    }
  }

  assert {
    condition     = output.alarms["fraud/cards"].namespace == null && output.alarms["fraud/cards"].statistic == null && output.alarms["fraud/cards"].dimensions == null && [for query in output.alarms["fraud/cards"].metric_query : query.expression if query.return_data == true] == ["all - answered"]
    error_message = "The expression alone is what is compared."
  }
  assert {
    condition     = { for query in output.alarms["fraud/cards"].metric_query : query.id => query.metric[0].metric_name if length(query.metric) > 0 } == { all = "Invocations", answered = "Answers" } && alltrue([for query in output.alarms["fraud/cards"].metric_query : query.metric[0].dimensions == tomap({ EndpointName = "fraud--cards" }) && query.metric[0].stat == "Sum" && query.metric[0].period == 300 if length(query.metric) > 0])
    error_message = "Every metric of the expression is that of the thing that is watched."
  }
}

run "refuses_bad_values" {
  command = plan

  module {
    source = "../modules/alarm"
  }

  variables {
    topic_arn = "ml-ops-notifications"
    alarm     = { namespace = "AWS/SageMaker", statistic = "99", period = 60, threshold = 3, announced = ["SOMETIMES"] }
    watched   = { one = { name = join("", [for n in range(256) : "n"]), description = "", dimensions = {} } }
  }

  expect_failures = [var.topic_arn, var.alarm, var.watched]
}
