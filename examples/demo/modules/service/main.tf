variable "root" {
  type        = string
  description = "Directory of the environment's world."
}

variable "name" {
  type = string
}

variable "settings" {
  type    = map(string)
  default = {}
}

module "file" {
  source   = "../file"
  path     = "${var.root}/${var.name}.conf"
  settings = merge({ name = var.name }, var.settings)
}

output "path" {
  value = module.file.path
}
