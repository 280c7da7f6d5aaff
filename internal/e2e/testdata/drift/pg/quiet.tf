# What differs here is no drift.

resource "postgresql_role" "team" {
  name  = "${var.prefix}_team"
  roles = [postgresql_role.app.name, postgresql_role.reader.name, postgresql_role.path.name]
}

resource "postgresql_role" "elastic" {
  name             = "${var.prefix}_elastic"
  connection_limit = 3
  lifecycle {
    ignore_changes = [connection_limit]
  }
}

resource "postgresql_role" "rotated" {
  name     = "${var.prefix}_rotated"
  login    = true
  password = var.app_password
  lifecycle {
    ignore_changes = [password]
  }
}

resource "postgresql_grant" "usage" {
  database    = postgresql_database.shop.name
  role        = postgresql_role.reader.name
  schema      = postgresql_schema.orders.name
  object_type = "schema"
  privileges  = ["USAGE", "CREATE"]
}

resource "postgresql_default_privileges" "reader" {
  database    = postgresql_database.shop.name
  role        = postgresql_role.reader.name
  owner       = postgresql_role.app.name
  schema      = postgresql_schema.orders.name
  object_type = "table"
  privileges  = ["SELECT", "UPDATE"]
}

data "postgresql_schemas" "all" {
  database   = postgresql_database.shop.name
  depends_on = [postgresql_schema.orders]
}

data "postgresql_tables" "all" {
  database   = postgresql_database.shop.name
  schemas    = ["orders"]
  depends_on = [postgresql_schema.orders]
}

output "tables" {
  value = data.postgresql_tables.all.tables[*].object_name
}

output "schemas" {
  value = data.postgresql_schemas.all.schemas
}

check "tables" {
  assert {
    condition     = length(data.postgresql_tables.all.tables) == 0
    error_message = "somebody has made a table"
  }
}

removed {
  from = postgresql_role.nobody
  lifecycle {
    destroy = false
  }
}

moved {
  from = postgresql_role.teams
  to   = postgresql_role.team
}

import {
  to = postgresql_role.known
  id = "@PREFIX@_known"
}

resource "postgresql_role" "known" {
  name = "${var.prefix}_known"
}
