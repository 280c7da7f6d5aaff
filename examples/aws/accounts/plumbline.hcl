# An account for each environment. `plumbline validate --config plumbline.hcl` checks it.
server {
  public_url = "https://plumbline.example.com"
  data_dir   = "/var/lib/plumbline"
  database   = "postgres://plumbline:${env("DATABASE_PASSWORD")}@db.example.com/plumbline?sslmode=verify-full"
}

forge "codecommit" "aws" {
  region = "eu-west-1"
  queue  = "https://sqs.eu-west-1.amazonaws.com/444455556666/plumbline-codecommit" # modules/codecommit-events
}

auth {
  role "operator" {
    users = ["aws/Operators/ann"]
  }
  role "approver" {
    users        = ["aws/Operators/ann", "aws/Operators/bob"]
    environments = ["production"]
  }
}

repository "accounts" {
  forge   = "aws"
  project = "accounts"
  poll    = "@every 5m" # the queue brings what happens at once

  environment "development" {
    branch  = "main"
    apply   = "automatic"
    include = ["live/**"]
    vars    = { account = "111122223333", name = "development" }
    backend = { bucket = "acme-terraform-states", key = "development/{stack}.tfstate", region = "eu-west-1" }

    aws { # modules/runner-roles
      region      = "eu-west-1"
      plan_role   = "arn:aws:iam::111122223333:role/plumbline-plan"
      apply_role  = "arn:aws:iam::111122223333:role/plumbline-apply"
      external_id = "plumbline-development"
    }
  }

  environment "production" {
    branch   = "production"
    apply    = "approval"
    include  = ["live/**"]
    policies = ["../../policies"]
    vars     = { account = "777788889999", name = "production" }
    backend  = { bucket = "acme-terraform-states", key = "production/{stack}.tfstate", region = "eu-west-1" }

    aws { # modules/runner-roles
      region      = "eu-west-1"
      plan_role   = "arn:aws:iam::777788889999:role/plumbline-plan"
      apply_role  = "arn:aws:iam::777788889999:role/plumbline-apply"
      external_id = "plumbline-production"
    }

    approval {
      from = ["role:approver"]
      not  = ["author"]
    }
    drift {
      schedule = "0 */6 * * *"
    }
  }
}
