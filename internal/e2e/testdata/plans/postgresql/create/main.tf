terraform {
  required_providers {
    postgresql = {
      source  = "cyrilgdn/postgresql"
      version = "1.27.0"
    }
  }
}

# The server comes from the environment (PGHOST and its kin). The provider cannot name a Unix socket itself; with no host at all the
# library beneath it takes the environment's.
provider "postgresql" {
  host = ""
}

variable "app_password" {
  type      = string
  sensitive = true
}

# Never in a plan or a state.
variable "reporting_password" {
  type      = string
  sensitive = true
  ephemeral = true
}

output "url" {
  value     = "postgres://${postgresql_role.app.name}:${var.app_password}@db.example.com/${postgresql_database.shop.name}"
  sensitive = true
}

output "roles" {
  value = { for team, role in postgresql_role.team : team => role.name }
}
