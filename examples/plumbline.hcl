# A whole configuration: `plumbline validate --config plumbline.hcl` checks it, `plumbline serve --config plumbline.hcl` keeps it.
server {
  public_url = "https://plumbline.example.com" # what links on merge requests begin with
  data_dir   = "/var/lib/plumbline"            # SQLite, sealed plans and logs
}

terraform {
  version = "~> 1.11" # for stacks that ask for no version themselves
}

forge "gitea" "corp" {
  url   = "https://gitea.example.com"
  token = env("GITEA_TOKEN") # may read code, write comments and commit statuses
}

# Who may do what, by the names that they have on the forge. `oidc { … }` lets people sign in on the pages as well.
auth {
  user "ann@example.com" {
    also   = ["corp/ann"] # the same person: two doors are never two people
    groups = ["sre"]
  }
  role "approver" {
    groups       = ["sre"]
    environments = ["production"]
  }
  role "operator" { # retry, cancel, freeze, roll back
    groups = ["sre"]
  }
}

repository "infra" {
  forge   = "corp"
  project = "platform/infra"
  poll    = "@every 30s"

  environment "staging" {
    branch      = "env/staging"
    apply       = "automatic"  # what lands on the branch is applied at once
    promotes_to = "production" # in sync, it has a merge request to production open
    vars        = { region = "eu-west-1", size = "small" }
  }

  environment "production" {
    branch   = "env/production"
    exclude  = ["live/sandbox/**"]
    apply    = "approval"          # a plan waits until somebody agrees to exactly what it does
    checks   = ["fmt", "validate"] # of merge requests, beside the plan
    policies = ["policies"]        # Rego, next to this file
    vars     = { region = "eu-west-1", size = "large" }

    approval {
      from    = ["group:sre"]
      not     = ["author"] # nobody agrees to their own change
      carry   = true       # a yes on the merge request counts after the merge, for the same plan
      expires = "24h"      # after that it is planned anew
    }
    window "office-hours" {
      allow    = "0 9 * * MON-FRI"
      for      = "8h"
      timezone = "Europe/London"
    }
    freeze "year-end" {
      from   = "2026-12-20"
      until  = "2027-01-03"
      reason = "change freeze"
    }
    drift {
      schedule  = "0 */6 * * *" # compares reality with Git
      timezone  = "Europe/London"
      remediate = "propose" # "report", "propose", "apply": docs/drift.md

      ignore {
        address   = "aws_autoscaling_group.*"
        attribute = "desired_capacity"
        reason    = "autoscaled"
        owner     = "sre"
      }
    }
  }
}
