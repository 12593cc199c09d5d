"""An OCI registry, as ECR serves one."""
