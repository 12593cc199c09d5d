# Who may talk to whom. Workers, scheduler, database and web server of MWAA share one group, as MWAA wants it:
# https://docs.aws.amazon.com/mwaa/latest/userguide/vpc-security.html

resource "aws_security_group" "airflow" {
  #checkov:skip=CKV2_AWS_5: the environment of the module airflow has it, which checkov does not follow
  name        = "${var.name}-airflow"
  description = "MWAA: among itself, to the endpoints and to S3"
  vpc_id      = aws_vpc.this.id

  tags = { Name = "${var.name}-airflow" }
}

resource "aws_vpc_security_group_ingress_rule" "airflow_itself" {
  security_group_id            = aws_security_group.airflow.id
  description                  = "MWAA's parts among themselves"
  ip_protocol                  = "-1"
  referenced_security_group_id = aws_security_group.airflow.id
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  for_each = var.clients

  security_group_id = aws_security_group.airflow.id
  description       = "People open Airflow"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = each.value
}

resource "aws_vpc_security_group_egress_rule" "airflow_itself" {
  security_group_id            = aws_security_group.airflow.id
  description                  = "MWAA's parts among themselves"
  ip_protocol                  = "-1"
  referenced_security_group_id = aws_security_group.airflow.id
}

resource "aws_vpc_security_group_egress_rule" "to_endpoints" {
  security_group_id            = aws_security_group.airflow.id
  description                  = "AWS's services through their endpoints"
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
  referenced_security_group_id = aws_security_group.endpoints.id
}

resource "aws_vpc_security_group_egress_rule" "to_s3" {
  security_group_id = aws_security_group.airflow.id
  description       = "S3 through its gateway"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  prefix_list_id    = aws_vpc_endpoint.s3.prefix_list_id
}

resource "aws_vpc_security_group_egress_rule" "to_internet" {
  count = var.nat ? 1 : 0

  security_group_id = aws_security_group.airflow.id
  description       = "Slack, and services without an endpoint here"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = "0.0.0.0/0"
}

resource "aws_security_group" "endpoints" {
  name        = "${var.name}-endpoints"
  description = "Endpoints of AWS services: they answer, and call nobody"
  vpc_id      = aws_vpc.this.id

  tags = { Name = "${var.name}-endpoints" }
}

resource "aws_vpc_security_group_ingress_rule" "to_endpoints" {
  security_group_id            = aws_security_group.endpoints.id
  description                  = "MWAA"
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
  referenced_security_group_id = aws_security_group.airflow.id
}
