resource "postgresql_database" "shop" {
  name             = "shop"
  owner            = postgresql_role.app.name
  connection_limit = 100
  lc_collate       = "C"
}

resource "postgresql_extension" "citext" {
  name     = "citext"
  database = postgresql_database.shop.name
}

resource "postgresql_schema" "orders" {
  name     = "orders"
  database = postgresql_database.shop.name
  owner    = postgresql_role.app.name

  policy {
    role  = postgresql_role.team["dev"].name
    usage = true
  }
  policy {
    role   = postgresql_role.team["ops/on-call"].name
    usage  = true
    create = true
  }
  policy {
    role  = postgresql_role.reporting.name
    usage = true
  }
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
  arg {
    name = "price"
    type = "integer"
  }

  body = <<-SQL
    DECLARE
      total integer;
    BEGIN
      total := quantity * price;
      -- no discount yet
      RETURN total;
    END;
  SQL
}

resource "postgresql_grant" "connect" {
  database    = postgresql_database.shop.name
  role        = postgresql_role.team["data.science"].name
  object_type = "database"
  privileges  = ["CONNECT", "TEMPORARY"]
}

resource "postgresql_grant" "reporting" {
  database    = postgresql_database.shop.name
  role        = postgresql_role.reporting.name
  schema      = postgresql_schema.orders.name
  object_type = "schema"
  privileges  = ["USAGE"]
}

resource "postgresql_default_privileges" "reporting" {
  database    = postgresql_database.shop.name
  role        = postgresql_role.reporting.name
  owner       = postgresql_role.app.name
  schema      = postgresql_schema.orders.name
  object_type = "table"
  privileges  = ["SELECT"]
}
