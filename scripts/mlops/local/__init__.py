"""The local stack: the same templates, Lambda, DAGs and Terraform on one machine."""
