terraform {
  backend "local" {
    path = "@DIR@/state/state.tfstate"
  }
  required_providers {
    postgresql = { source = "cyrilgdn/postgresql" }
  }
}

provider "postgresql" {
  host = ""
}

variable "prefix" { type = string }

resource "postgresql_role" "forgotten" {
  name = "${var.prefix}_forgotten"
}

resource "postgresql_role" "elsewhere" {
  name             = "${var.prefix}_elsewhere"
  connection_limit = 5
}

resource "terraform_data" "forgotten" {
  input = "one"
}

resource "terraform_data" "elsewhere" {
  input = "as configured"
}

resource "terraform_data" "tainted" {
  input = "two"
}
