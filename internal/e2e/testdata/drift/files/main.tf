terraform {
  backend "local" {
    path = "@DIR@/state/files.tfstate"
  }
  required_providers {
    local = { source = "hashicorp/local" }
  }
}

variable "world" { type = string }

resource "local_file" "changed" {
  filename = "${var.world}/files/changed"
  content  = "as configured\n"
}

resource "local_file" "removed" {
  filename = "${var.world}/files/removed"
  content  = "as configured\n"
}

# What happens to these is no drift.
resource "local_file" "touched" {
  filename = "${var.world}/files/touched"
  content  = "as configured\n"
}

resource "local_file" "rewritten" {
  filename = "${var.world}/files/rewritten"
  content  = "as configured\n"
}
