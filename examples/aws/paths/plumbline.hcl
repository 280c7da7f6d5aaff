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
  }

  environment "staging" {
    branch  = "main"
    include = ["environments/staging/**"]
    apply   = "automatic"
    order   = 2
  }

  environment "production" {
    branch   = "main"
    include  = ["environments/production/**"]
    apply    = "approval"
    order    = 3
    policies = ["../../policies"]

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
