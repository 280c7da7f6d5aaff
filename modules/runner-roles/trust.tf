# Who may have which role. Plumbline opens a session for each run, called plumbline-run-ID, with tags that say what the run is: CloudTrail tells
# by them who did what, and the roles here are kept to the repositories, environments and kinds of runs that they are for.
locals {
  session_tags = ["repository", "environment", "stack", "commit", "kind"]

  # A proposal is a merge request's code, which nobody has agreed to; a drift run only looks.
  kinds = {
    plan  = ["proposal", "deploy", "drift", "destroy"]
    apply = ["deploy", "destroy"]
  }

  trust = {
    for phase, kinds in local.kinds : phase => {
      Version = "2012-10-17"
      Statement = concat([
        {
          Sid       = "PlumblineRuns"
          Effect    = "Allow"
          Principal = { AWS = sort(var.daemon_role_arns) }
          Action    = "sts:AssumeRole"
          Condition = {
            StringEquals = {
              "sts:ExternalId"             = var.external_id
              "aws:RequestTag/repository"  = sort(var.repositories)
              "aws:RequestTag/environment" = sort(var.environments)
              "aws:RequestTag/kind"        = kinds
            }
            StringLike = {
              "sts:RoleSessionName"   = "plumbline-run-*"
              "aws:RequestTag/stack"  = "?*"
              "aws:RequestTag/commit" = "?*"
            }
          }
        },
        {
          # AWS asks for the two rights apart. By its documentation the external ID and the session's name belong to the first one.
          Sid       = "WithTheseTags"
          Effect    = "Allow"
          Principal = { AWS = sort(var.daemon_role_arns) }
          Action    = "sts:TagSession"
          Condition = {
            StringEquals = {
              "aws:RequestTag/repository"  = sort(var.repositories)
              "aws:RequestTag/environment" = sort(var.environments)
              "aws:RequestTag/kind"        = kinds
            }
            "ForAllValues:StringEquals" = { "aws:TagKeys" = local.session_tags }
          }
        },
        ],
        [
          # Plumbline itself, no run of it, asks CloudTrail who changed what has drifted.
          for names in [["plumbline-who"]] : {
            Sid       = "PlumblineAsksWho"
            Effect    = "Allow"
            Principal = { AWS = sort(var.daemon_role_arns) }
            Action    = "sts:AssumeRole"
            Condition = { StringEquals = { "sts:ExternalId" = var.external_id, "sts:RoleSessionName" = names } }
          } if phase == "plan"
      ])
    }
  }
}
