# Policies are made from names, not from what AWS answers, so that plans and tests show them in full.
locals {
  bucket_policy = {
    Version = "2012-10-17"
    Statement = concat([
      {
        Sid       = "OnlyOverTLS"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [local.bucket_arn, "${local.bucket_arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid       = "OnlyTLS12"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [local.bucket_arn, "${local.bucket_arn}/*"]
        Condition = { NumericLessThan = { "s3:TlsVersion" = "1.2" } }
      },
      {
        # An upload that says nothing gets the bucket's key; one that asks for another kind of encryption is refused. Null keeps the two apart:
        # StringNotEquals alone holds for a header that is not there as well.
        Sid       = "OnlyEncryptedByKMS"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:PutObject"
        Resource  = "${local.bucket_arn}/*"
        Condition = {
          StringNotEquals = { "s3:x-amz-server-side-encryption" = "aws:kms" }
          Null            = { "s3:x-amz-server-side-encryption" = "false" }
        }
      },
      ],
      flatten([for name in sort(keys(var.readers)) : local.reader_statements[name]]),
      flatten([for name in sort(keys(var.writers)) : local.writer_statements[name]]),
    )
  }

  # Listing is not narrowed to the keys: the backend lists workspaces wherever it begins, and S3 says 403 in place of 404 of a state that is not
  # there yet to whoever may not list. Names of states are no secret.
  # use_lockfile: the lock of KEY is the object KEY.tflock, which whoever plans makes and removes.
  reader_statements = {
    for name, r in var.readers : name => [
      {
        Sid       = "List${title(replace(name, "/[^A-Za-z0-9]/", ""))}Reads"
        Effect    = "Allow"
        Principal = { AWS = r.role_arn }
        Action    = "s3:ListBucket"
        Resource  = local.bucket_arn
      },
      {
        Sid       = "Read${title(replace(name, "/[^A-Za-z0-9]/", ""))}"
        Effect    = "Allow"
        Principal = { AWS = r.role_arn }
        Action    = "s3:GetObject"
        Resource  = [for k in sort(r.keys) : "${local.bucket_arn}/${k}"]
      },
      {
        Sid       = "Lock${title(replace(name, "/[^A-Za-z0-9]/", ""))}Reads"
        Effect    = "Allow"
        Principal = { AWS = r.role_arn }
        Action    = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
        Resource  = [for k in sort(r.keys) : "${local.bucket_arn}/${k}.tflock"]
      },
    ]
  }

  writer_statements = {
    for name, w in var.writers : name => [
      {
        Sid       = "List${title(replace(name, "/[^A-Za-z0-9]/", ""))}Writes"
        Effect    = "Allow"
        Principal = { AWS = w.role_arn }
        Action    = "s3:ListBucket"
        Resource  = local.bucket_arn
      },
      {
        Sid       = "Write${title(replace(name, "/[^A-Za-z0-9]/", ""))}"
        Effect    = "Allow"
        Principal = { AWS = w.role_arn }
        Action    = ["s3:GetObject", "s3:PutObject"]
        Resource  = [for k in sort(w.keys) : "${local.bucket_arn}/${k}"]
      },
      {
        Sid       = "Lock${title(replace(name, "/[^A-Za-z0-9]/", ""))}Writes"
        Effect    = "Allow"
        Principal = { AWS = w.role_arn }
        Action    = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
        Resource  = [for k in sort(w.keys) : "${local.bucket_arn}/${k}.tflock"]
      },
    ]
  }

  key_policy = {
    Version = "2012-10-17"
    Statement = concat([
      {
        # Without it nobody could ever change this policy again. It grants nothing by itself: what a role may do with the key stands in the
        # role's own policies. In a key's policy "*" is the key itself.
        Sid       = "AccountDecides"
        Effect    = "Allow"
        Principal = { AWS = "arn:${data.aws_partition.this.partition}:iam::${local.account}:root" }
        Action    = "kms:*"
        Resource  = "*"
      },
      ], length(local.foreign) == 0 ? [] : [
      {
        Sid       = "OtherAccountsThroughS3"
        Effect    = "Allow"
        Principal = { AWS = sort(local.foreign) }
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = "*"
        Condition = {
          StringEquals = { "kms:ViaService" = "s3.${data.aws_region.this.region}.amazonaws.com" }
        }
      },
    ])
  }
}
