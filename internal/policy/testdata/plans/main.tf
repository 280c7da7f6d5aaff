# What the plans beside this file were made of, with Terraform 1.11 and a provider that has the AWS schemas but no cloud behind it: create.json with
# stage = "good"; once that was applied, change.json with stage = "bad", clean.json with "good" again, destroy.json with -destroy.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {
  region = "eu-west-1"
}

variable "stage" {
  type    = string
  default = "bad"
}

locals {
  bad = var.stage == "bad"
}

# Public buckets, in each of the ways that there are.
resource "aws_s3_bucket" "logs" {
  bucket = "acme-logs"
}

resource "aws_s3_bucket_acl" "logs" {
  bucket = aws_s3_bucket.logs.id
  acl    = local.bad ? "public-read" : "private"
}

resource "aws_s3_bucket_public_access_block" "logs" {
  bucket                  = aws_s3_bucket.logs.id
  block_public_acls       = !local.bad
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

data "aws_iam_policy_document" "read" {
  statement {
    actions   = ["s3:GetObject"]
    resources = ["arn:aws:s3:::acme-logs/*"]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    dynamic "condition" {
      for_each = local.bad ? [] : ["vpce-1"]
      content {
        test     = "StringEquals"
        variable = "aws:SourceVpce"
        values   = [condition.value]
      }
    }
  }
}

resource "aws_s3_bucket_policy" "logs" {
  bucket = aws_s3_bucket.logs.id
  policy = data.aws_iam_policy_document.read.json
}

# A policy that names the bucket's own address is not known before the bucket is there.
resource "aws_s3_bucket" "later" {
  count         = local.bad ? 1 : 0
  bucket_prefix = "acme-later-"
}

resource "aws_s3_bucket_policy" "later" {
  count  = local.bad ? 1 : 0
  bucket = aws_s3_bucket.later[0].id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Principal = "*", Action = "s3:GetObject", Resource = "${aws_s3_bucket.later[0].arn}/*" }]
  })
}

# Stateful resources.
resource "aws_db_instance" "main" {
  identifier          = "main"
  engine              = "postgres"
  instance_class      = "db.t4g.micro"
  allocated_storage   = 20
  username            = "root"
  password            = "hunter2-hunter2"
  storage_encrypted   = local.bad
  skip_final_snapshot = true
}

resource "aws_dynamodb_table" "orders" {
  count        = local.bad ? 0 : 1
  name         = "orders"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "id"
  attribute {
    name = "id"
    type = "S"
  }
}

resource "aws_kms_key" "old" {
  count       = local.bad ? 0 : 1
  description = "old"
}

# Destroyed, and nothing is lost with them.
resource "aws_ssm_parameter" "flag" {
  count = local.bad ? 0 : 11
  name  = "/flag/${count.index}"
  type  = "String"
  value = "x"
}

# What is open to the world.
resource "aws_security_group" "web" {
  name = "web"
  ingress {
    from_port   = 443
    to_port     = 443
    protocol    = "tcp"
    cidr_blocks = ["0.0.0.0/0"]
  }
  dynamic "ingress" {
    for_each = local.bad ? ["0.0.0.0/0"] : ["10.0.0.0/8"]
    content {
      from_port   = 22
      to_port     = 22
      protocol    = "tcp"
      cidr_blocks = [ingress.value]
    }
  }
}

resource "aws_security_group_rule" "db" {
  type              = "ingress"
  from_port         = 5000
  to_port           = 6000
  protocol          = "tcp"
  ipv6_cidr_blocks  = [local.bad ? "::/0" : "fd00::/8"]
  security_group_id = aws_security_group.web.id
}

resource "aws_vpc_security_group_ingress_rule" "all" {
  ip_protocol       = "-1"
  cidr_ipv4         = local.bad ? "0.0.0.0/0" : "10.0.0.0/8"
  security_group_id = aws_security_group.web.id
}

# Who may do everything.
resource "aws_iam_policy" "ops" {
  name = "ops"
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = local.bad ? "*" : "s3:*", Resource = "*" }]
  })
}

resource "aws_iam_role" "ops" {
  name               = "ops"
  assume_role_policy = jsonencode({ Version = "2012-10-17", Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.amazonaws.com" } }] })
}

resource "aws_iam_role_policy_attachment" "ops" {
  role       = aws_iam_role.ops.name
  policy_arn = local.bad ? "arn:aws:iam::aws:policy/AdministratorAccess" : "arn:aws:iam::aws:policy/ReadOnlyAccess"
}

# What is not encrypted.
resource "aws_ebs_volume" "scratch" {
  count             = local.bad ? 1 : 0
  availability_zone = "eu-west-1a"
  size              = 10
}

resource "aws_efs_file_system" "share" {
  count     = local.bad ? 1 : 0
  encrypted = false
}

resource "aws_instance" "web" {
  count         = local.bad ? 1 : 0
  ami           = "ami-1"
  instance_type = "t3.micro"
  root_block_device {
    encrypted = false
  }
}

resource "aws_elasticache_replication_group" "cache" {
  count                = local.bad ? 1 : 0
  replication_group_id = "cache"
  description          = "cache"
}
