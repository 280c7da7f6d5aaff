auth {
  oidc {
    issuer        = "https://sso.example.com"
    client_id     = "plumbline"
    client_secret = env("OIDC_SECRET")
  }
  user "ann@example.com" {
    also   = ["corp/ann"]
    groups = ["sre"]
  }
  role "viewer" {
    groups = ["*"]
  }
  role "approver" {
    groups       = ["sre"]
    environments = ["production"]
  }
}

forge "gitlab" "corp" {
  token = env("GITLAB_TOKEN")
}

forge "codecommit" "aws" {
  region = "eu-west-1"
  queue  = "https://sqs.eu-west-1.amazonaws.com/444455556666/plumbline-codecommit"
}

repository "infra" {
  forge   = "corp"
  project = "platform/infra"

  environment "production" {
    branch   = "env/production"
    apply    = "approval"
    policies = ["policies"]

    aws { # modules/runner-roles
      region      = "eu-west-1"
      plan_role   = "arn:aws:iam::111122223333:role/plumbline-plan"
      apply_role  = "arn:aws:iam::111122223333:role/plumbline-apply"
      external_id = "plumbline-6f1d0c"
    }

    approval {
      from = ["group:sre"]
      not  = ["author"]
    }
  }
}

repository "legacy" {
  forge   = "aws"
  project = "infra"
  poll    = "@every 10m"

  environment "legacy" {
    branch = "main"
    apply  = "never"
  }
}
