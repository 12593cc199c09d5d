output "vpc_id" {
  description = "The network, for peering or a transit gateway."
  value       = aws_vpc.this.id
}

output "private_subnet_ids" {
  description = "The private subnets, one a zone, in the order of the zones."
  value       = [for zone in local.zones : aws_subnet.private[zone].id]

  # What runs in them needs its ways out.
  depends_on = [aws_route_table_association.private, aws_vpc_endpoint.service, aws_route.to_nat]
}

output "private_route_table_id" {
  description = "The route table of the private subnets, for routes to the company's network."
  value       = aws_route_table.private.id
}

output "airflow_security_group_id" {
  description = "The security group of the MWAA environment."
  value       = aws_security_group.airflow.id

  # MWAA checks the rules when it is created.
  depends_on = [
    aws_vpc_security_group_egress_rule.airflow_itself,
    aws_vpc_security_group_egress_rule.to_endpoints,
    aws_vpc_security_group_egress_rule.to_internet,
    aws_vpc_security_group_egress_rule.to_s3,
    aws_vpc_security_group_ingress_rule.airflow_itself,
    aws_vpc_security_group_ingress_rule.to_endpoints,
  ]
}
