variable "root" {
  type = string
}

variable "name" {
  type = string
}

variable "size" {
  type        = number
  description = "How many services there are."
}

variable "settings" {
  type    = map(string)
  default = {}
}

module "service" {
  source   = "../service"
  count    = var.size
  root     = var.root
  name     = "${var.name}-${count.index + 1}"
  settings = var.settings
}

output "paths" {
  value = module.service[*].path
}
