resource "postgresql_role" "app" {
  name             = "shop_app"
  login            = true
  password         = var.app_password
  connection_limit = 20
  search_path      = ["public", "orders", "archive"]
}

resource "postgresql_role" "reporting" {
  name                = "shop_reporting"
  login               = true
  password_wo         = var.reporting_password
  password_wo_version = "2"
}

resource "postgresql_role" "team" {
  for_each = {
    "dev"          = { limit = -1, roles = ["shop_app"] }
    "ops/on-call"  = { limit = 12, roles = ["shop_app", "pg_monitor"] }
    "data.science" = { limit = 3, roles = ["shop_reporting"] }
    "größe [M] #1" = { limit = 1, roles = [] }
  }

  name             = "shop_${replace(each.key, "/[^a-z]+/", "_")}"
  connection_limit = each.value.limit
  roles            = each.value.roles

  depends_on = [postgresql_role.app, postgresql_role.reporting]
}
