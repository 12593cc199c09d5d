"""What GitLab gives a job, and what the job hands on."""
