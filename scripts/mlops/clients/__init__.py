"""The only place that knows boto3, python-gitlab, docker and Slack."""
