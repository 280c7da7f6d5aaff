# Three environments, three branches, the same directories. `plumbline validate --config plumbline.hcl` checks it.
server {
  public_url = "https://plumbline.example.com"
  data_dir   = "/var/lib/plumbline"
}

forge "gitlab" "corp" {
  token = env("GITLAB_TOKEN")
}

auth {
  user "ann@example.com" {
    also   = ["corp/ann"]
    groups = ["sre"]
  }
  role "operator" {
    groups = ["sre"]
  }
  role "approver" {
    groups       = ["sre"]
    environments = ["staging", "production"]
  }
}

repository "infra" {
  forge   = "corp"
  project = "platform/infra"

  environment "development" {
    branch      = "env/development"
    apply       = "automatic"
    checks      = ["fmt", "validate"]
    promotes_to = "staging"
    vars        = { environment = "development", cidr = "10.10.0.0/16", zones = 2 }
    backend     = { bucket = "acme-terraform-states", key = "development/{stack}.tfstate", region = "eu-west-1" }

    aws { # modules/runner-roles
      region      = "eu-west-1"
      plan_role   = "arn:aws:iam::111122223333:role/plumbline-plan"
      apply_role  = "arn:aws:iam::111122223333:role/plumbline-apply"
      external_id = "plumbline-development"
    }
  }

  environment "staging" {
    branch      = "env/staging"
    apply       = "approval"
    checks      = ["fmt", "validate"]
    promotes_to = "production"
    policies    = ["../../policies"]
    vars        = { environment = "staging", cidr = "10.20.0.0/16", zones = 2 }
    backend     = { bucket = "acme-terraform-states", key = "staging/{stack}.tfstate", region = "eu-west-1" }

    aws { # modules/runner-roles
      region      = "eu-west-1"
      plan_role   = "arn:aws:iam::444455556666:role/plumbline-plan"
      apply_role  = "arn:aws:iam::444455556666:role/plumbline-apply"
      external_id = "plumbline-staging"
    }

    approval {
      from = ["group:sre"]
    }
  }

  environment "production" {
    branch   = "env/production"
    apply    = "approval"
    checks   = ["fmt", "validate"]
    policies = ["../../policies"]
    vars     = { environment = "production", cidr = "10.30.0.0/16", zones = 3 }
    backend  = { bucket = "acme-terraform-states", key = "production/{stack}.tfstate", region = "eu-west-1" }

    aws { # modules/runner-roles
      region      = "eu-west-1"
      plan_role   = "arn:aws:iam::777788889999:role/plumbline-plan"
      apply_role  = "arn:aws:iam::777788889999:role/plumbline-apply"
      external_id = "plumbline-production"
    }

    approval {
      from    = ["group:sre"]
      not     = ["author"]
      carry   = true
      expires = "24h"
    }
    window "office-hours" {
      allow    = "0 9 * * MON-FRI"
      for      = "8h"
      timezone = "Europe/London"
    }
    drift {
      schedule = "0 */6 * * *"
      timezone = "Europe/London"
    }
  }
}
