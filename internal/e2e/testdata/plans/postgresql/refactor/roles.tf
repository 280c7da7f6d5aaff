resource "postgresql_role" "app" {
  name             = "shop_app"
  login            = true
  password         = var.app_password
  connection_limit = 5
  search_path      = ["orders", "public"]
}

resource "postgresql_role" "reporting" {
  name                = "shop_reporting"
  login               = true
  password_wo         = var.reporting_password
  password_wo_version = "1"
}

resource "postgresql_role" "team" {
  for_each = {
    "dev"            = { limit = -1, roles = ["shop_app"] }
    "ops/on-call"    = { limit = 10, roles = ["shop_app", "shop_reporting"] }
    "data science"   = { limit = 3, roles = ["shop_reporting"] }
    "the \"others\"" = { limit = 1, roles = [] }
  }

  name             = "shop_${replace(each.key, "/[^a-z]+/", "_")}"
  connection_limit = each.value.limit
  roles            = each.value.roles

  depends_on = [postgresql_role.app, postgresql_role.reporting]
}
