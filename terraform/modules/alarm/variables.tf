variable "alarm" {
  description = "What raises it, in the words of CloudWatch: one metric, or an expression over several with the names it calls them by. A statistic such as p99 is a percentile. announced lists the states that notify the topic."
  type = object({
    namespace   = string
    metric_name = optional(string)
    expression = optional(object({
      id         = string
      label      = string
      expression = string
      metrics    = map(string)
    }))
    statistic           = string
    period              = number
    evaluation_periods  = optional(number, 1)
    datapoints_to_alarm = optional(number)
    comparison_operator = optional(string, "GreaterThanThreshold")
    threshold           = number
    treat_missing_data  = optional(string, "notBreaching")
    announced           = optional(set(string), ["ALARM", "OK"])
  })
  nullable = false

  validation {
    condition     = (var.alarm.metric_name == null) != (var.alarm.expression == null)
    error_message = "alarm must have a metric_name or an expression."
  }

  validation {
    condition     = can(regex("^(Average|Maximum|Minimum|SampleCount|Sum|p[0-9]{1,2}([.][0-9]+)?)$", var.alarm.statistic))
    error_message = "alarm.statistic must be Average, Maximum, Minimum, SampleCount, Sum or a percentile such as p99."
  }

  validation {
    condition     = length(setsubtract(var.alarm.announced, ["ALARM", "OK"])) == 0
    error_message = "alarm.announced must be of ALARM and OK."
  }
}

variable "watched" {
  description = "What the alarms watch: for each, the name and description of its alarm, and the dimensions of the metric."
  type = map(object({
    name        = string
    description = string
    dimensions  = map(string)
  }))
  nullable = false

  # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
  validation {
    condition     = alltrue([for one in values(var.watched) : length(one.name) <= 255 && length(one.description) <= 1024])
    error_message = "A name may have 255 characters, a description 1,024."
  }
}

variable "topic_arn" {
  description = "The SNS topic that the alarms notify; its policy must let cloudwatch.amazonaws.com publish."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$", var.topic_arn))
    error_message = "topic_arn must be the ARN of a topic."
  }
}
