resource "aws_s3_bucket" "assets" {
  bucket_prefix = "shop-assets-"
}

resource "aws_s3_bucket_versioning" "assets" {
  bucket = aws_s3_bucket.assets.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_instance" "web" {
  ami           = "ami-0a1b2c3d4e5f60718"
  instance_type = "t3.small"
  subnet_id     = aws_subnet.private[0].id

  vpc_security_group_ids = [aws_security_group.web.id]
  user_data              = <<-EOT
    #!/bin/bash
    set -euo pipefail
    apt-get update
    apt-get install -y nginx

    cat > /etc/nginx/conf.d/shop.conf <<'CONF'
    server {
      listen 443 ssl;
      server_name shop.example.com;
    }
    CONF
    systemctl restart nginx
  EOT

  root_block_device {
    volume_size = 20
    volume_type = "gp3"
  }
}

resource "aws_ssm_parameter" "api_key" {
  name  = "/shop/api-key"
  type  = "SecureString"
  value = var.api_key
}

resource "aws_lambda_function" "hooks" {
  function_name = "shop-hooks"
  role          = aws_iam_role.web.arn
  runtime       = "nodejs22.x"
  handler       = "index.handler"
  s3_bucket     = aws_s3_bucket.assets.id
  s3_key        = "hooks/1.zip"

  environment {
    variables = {
      API_KEY   = var.api_key
      LOG_LEVEL = "info"
    }
  }
}

# An object of any shape.
resource "terraform_data" "release" {
  input = {
    version = "1.0"
    flags   = ["cart", "search"]
    owner   = null
  }
}

ephemeral "random_password" "database" {
  length = 24
}

resource "aws_db_instance" "shop" {
  identifier          = "shop"
  engine              = "postgres"
  instance_class      = "db.t4g.small"
  allocated_storage   = 50
  username            = "shop"
  password_wo         = ephemeral.random_password.database.result
  password_wo_version = 1
  skip_final_snapshot = true
}

resource "aws_cloudwatch_log_group" "app" {
  for_each = {
    "web"          = 14
    "jobs/nightly" = 30
    "größe [M]"    = 7
    "it's \"new\"" = 1
  }

  name              = "/shop/${replace(each.key, "/[^a-z]+/", "-")}"
  retention_in_days = each.value
}
