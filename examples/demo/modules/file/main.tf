terraform {
  required_providers {
    local = {
      source = "hashicorp/local"
    }
  }
}

variable "path" {
  type        = string
  description = "Where the file is."
}

variable "settings" {
  type        = map(string)
  description = "What is in it, a line each."
}

resource "local_file" "this" {
  filename        = var.path
  content         = join("", [for k in sort(keys(var.settings)) : "${k} = ${var.settings[k]}\n"])
  file_permission = "0644"
}

output "path" {
  value = local_file.this.filename
}
