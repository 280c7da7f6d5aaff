terraform {
  backend "local" {
    path = "@DIR@/state/clock.tfstate"
  }
  required_providers {
    local = { source = "hashicorp/local" }
  }
}

variable "world" { type = string }

data "local_file" "source" {
  filename = "${var.world}/clock/source"
}

resource "terraform_data" "copy" {
  input = data.local_file.source.content
}

# The clocks stand still until their files are there.
resource "terraform_data" "stamp" {
  input = fileexists("${var.world}/clock/stamp") ? timestamp() : "never"
}

resource "terraform_data" "planned" {
  input = fileexists("${var.world}/clock/planned") ? plantimestamp() : "never"
}

# What happens to these is no drift.
data "local_file" "shown" {
  filename = "${var.world}/clock/shown"
}

output "shown" {
  value = data.local_file.shown.content
}

output "now" {
  value = fileexists("${var.world}/clock/now") ? plantimestamp() : "never"
}

resource "terraform_data" "pinned" {
  input = data.local_file.shown.content
  lifecycle {
    ignore_changes = [input]
  }
}
