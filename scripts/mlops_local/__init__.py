"""The local stack: the same templates, Lambda, DAGs and Terraform on one machine.

It is in no wheel and no job image.
"""
