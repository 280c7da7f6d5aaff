data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

# Read only while applying: the bucket's ARN is not known before.
data "aws_iam_policy_document" "assets" {
  statement {
    sid       = "List"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.assets.arn]
  }
  statement {
    sid       = "ReadWrite"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    resources = ["${aws_s3_bucket.assets.arn}/*"]
  }
}

resource "aws_iam_role" "web" {
  name               = "shop-web"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

resource "aws_iam_policy" "assets" {
  name   = "shop-assets"
  policy = data.aws_iam_policy_document.assets.json
}

resource "aws_iam_policy" "queue" {
  name = "shop-queue"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Send"
        Effect   = "Allow"
        Action   = ["sqs:SendMessage", "sqs:GetQueueUrl", "sqs:PurgeQueue"]
        Resource = "arn:aws:sqs:eu-west-1:123456789012:orders"
      },
      {
        Sid      = "Receive"
        Effect   = "Allow"
        Action   = ["sqs:ReceiveMessage", "sqs:DeleteMessage"]
        Resource = "*"
      },
    ]
  })
}

resource "aws_iam_role_policy_attachment" "web" {
  for_each = {
    "assets"      = aws_iam_policy.assets.arn
    "queue.write" = aws_iam_policy.queue.arn
  }

  role       = aws_iam_role.web.name
  policy_arn = each.value
}
