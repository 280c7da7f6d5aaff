# Three environments on one branch, told apart by their directories. `plumbline validate --config plumbline.hcl` checks it.
server {
  public_url = "https://plumbline.example.com"
  data_dir   = "/var/lib/plumbline"
}

forge "github" "gh" {
  token = env("GITHUB_TOKEN")
}

auth {
  role "operator" {
    users = ["gh/ann", "gh/bob"]
  }
  role "approver" {
    users        = ["gh/ann", "gh/bob"]
    environments = ["production"]
  }
}

repository "infra" {
  forge   = "gh"
  project = "acme/infra"

  environment "development" {
    branch  = "main"
    include = ["environments/development/**"]
    apply   = "automatic"
    order   = 1

    aws { # modules/runner-roles
      region      = "eu-west-1"
      plan_role   = "arn:aws:iam::111122223333:role/plumbline-plan"
      apply_role  = "arn:aws:iam::111122223333:role/plumbline-apply"
      external_id = "plumbline-development"
    }
  }

  environment "staging" {
    branch  = "main"
    include = ["environments/staging/**"]
    apply   = "automatic"
    order   = 2

    aws { # modules/runner-roles
      region      = "eu-west-1"
      plan_role   = "arn:aws:iam::444455556666:role/plumbline-plan"
      apply_role  = "arn:aws:iam::444455556666:role/plumbline-apply"
      external_id = "plumbline-staging"
    }
  }

  environment "production" {
    branch   = "main"
    include  = ["environments/production/**"]
    apply    = "approval"
    order    = 3
    policies = ["../../policies"]

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
      schedule = "30 5 * * *"
      timezone = "Europe/London"
    }
  }
}
