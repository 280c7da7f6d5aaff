server {
  listen     = "0.0.0.0:8080" # inside the container; compose.yaml lets only this machine in
  public_url = "https://plumbline.example.com"
  data_dir   = "/var/lib/plumbline"
  database   = "postgres://plumbline:${trimspace(file("/run/secrets/database-password"))}@database/plumbline?sslmode=disable" # on a network of these two
}

auth {
  oidc {
    issuer        = env("OIDC_ISSUER")
    client_id     = "plumbline"
    client_secret = env("OIDC_SECRET")
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

repository "infra" {
  forge   = "corp"
  project = "platform/infra"

  environment "production" {
    branch = "env/production"
    apply  = "approval"
    approval {
      from = ["group:sre"]
      not  = ["author"]
    }
  }
}
