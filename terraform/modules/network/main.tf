# A network of its own for MWAA. Nothing in it reaches the internet, or is reached from there, unless nat is set.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

data "aws_availability_zones" "available" {
  #checkov:skip=CKV_AWS_394: the first by name are taken, so a zone that AWS adds moves no subnet
  state = "available"

  # Not Local Zones and Wavelength Zones, where MWAA does not run.
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.name

  zones = slice(sort(data.aws_availability_zones.available.names), 0, var.zones)

  # Three quarters for private subnets, the last one for public ones, whether they are there or not: a network can
  # then grow by a zone or get a NAT gateway without another subnet moving.
  private = { for index, zone in local.zones : zone => cidrsubnet(var.cidr, 2, index) }
  public  = { for index, zone in local.zones : zone => cidrsubnet(cidrsubnet(var.cidr, 2, 3), 2, index) if var.nat && index == 0 }

  endpoints = setunion(var.mwaa_endpoints, var.dag_endpoints)
}

resource "aws_vpc" "this" {
  cidr_block = var.cidr
  # Both make the endpoints answer to their services' own names.
  enable_dns_support   = true
  enable_dns_hostnames = true

  tags = { Name = var.name }
}

# Whatever names no security group gets this one, and with it no connection.
resource "aws_default_security_group" "this" {
  vpc_id = aws_vpc.this.id

  tags = { Name = "${var.name}-default-closed" }
}

resource "aws_subnet" "private" {
  for_each = local.private

  vpc_id            = aws_vpc.this.id
  availability_zone = each.key
  cidr_block        = each.value

  tags = { Name = "${var.name}-private-${each.key}" }
}

resource "aws_route_table" "private" {
  vpc_id = aws_vpc.this.id

  tags = { Name = "${var.name}-private" }
}

resource "aws_route_table_association" "private" {
  for_each = local.private

  subnet_id      = aws_subnet.private[each.key].id
  route_table_id = aws_route_table.private.id
}
