terraform {
  backend "local" {
    path = "@DIR@/state/pg.tfstate"
  }
  required_providers {
    postgresql = { source = "cyrilgdn/postgresql" }
  }
}

provider "postgresql" {
  host = ""
}

variable "prefix" { type = string }
variable "app_password" {
  type      = string
  sensitive = true
}

resource "postgresql_role" "app" {
  name             = "${var.prefix}_app"
  connection_limit = 5
}

resource "postgresql_role" "secret" {
  name     = "${var.prefix}_secret"
  login    = true
  password = var.app_password
}

resource "postgresql_role" "path" {
  name        = "${var.prefix}_path"
  search_path = ["orders", "public"]
}

resource "postgresql_role" "reader" {
  name = "${var.prefix}_reader"
}

resource "postgresql_role" "leaver" {
  name = "${var.prefix}_leaver"
}

resource "postgresql_database" "shop" {
  name             = "${var.prefix}_shop"
  connection_limit = 100
  lc_collate       = "C"
}

resource "postgresql_database" "spare" {
  name       = "${var.prefix}_spare"
  lc_collate = "C"
}

resource "postgresql_extension" "citext" {
  name     = "citext"
  database = postgresql_database.shop.name
}

resource "postgresql_schema" "orders" {
  name     = "orders"
  database = postgresql_database.shop.name
}

resource "postgresql_grant" "connect" {
  database    = postgresql_database.shop.name
  role        = postgresql_role.app.name
  object_type = "database"
  privileges  = ["CONNECT", "TEMPORARY"]
}

resource "postgresql_function" "total" {
  name     = "total"
  database = postgresql_database.shop.name
  schema   = postgresql_schema.orders.name
  language = "plpgsql"
  returns  = "integer"

  arg {
    name = "quantity"
    type = "integer"
  }

  body = <<-SQL
    BEGIN
      RETURN quantity * 2;
    END;
  SQL
}
