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

repository "infra" {
  forge   = "corp"
  project = "platform/infra"
  poll    = "@every 30s"

  environment "staging" {
    branch = "env/staging"
    apply  = "automatic" # what lands on the branch is applied at once
    vars   = { region = "eu-west-1", size = "small" }
  }

  environment "production" {
    branch  = "env/production"
    exclude = ["live/sandbox/**"]
    apply   = "approval" # a plan waits until somebody agrees to exactly what it does
    vars    = { region = "eu-west-1", size = "large" }

    approval {
      expires = "24h" # after that it is planned anew
    }
    drift {
      schedule = "0 */6 * * *" # compares reality with Git
      timezone = "Europe/London"
    }
  }
}
