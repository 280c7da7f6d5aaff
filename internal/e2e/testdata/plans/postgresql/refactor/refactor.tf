import {
  to = postgresql_role.legacy
  id = "shop_legacy"
}

resource "postgresql_role" "legacy" {
  name             = "shop_legacy"
  login            = true
  connection_limit = 2
}

removed {
  from = postgresql_extension.citext
  lifecycle {
    destroy = false
  }
}

moved {
  from = postgresql_role.team["data.science"]
  to   = postgresql_role.team["data science"]
}
