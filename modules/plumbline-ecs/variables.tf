variable "name" {
  description = "What names begin with."
  type        = string
  default     = "plumbline"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}[a-z0-9]$", var.name))
    error_message = "A name has 2 to 21 lower-case letters, digits and hyphens, begins with a letter and does not end with a hyphen."
  }
}

variable "image" {
  description = "Plumbline's image, with a tag or, better, a digest: see deploy/Dockerfile."
  type        = string

  validation {
    condition     = can(regex("(:[A-Za-z0-9_][A-Za-z0-9_.-]*|@sha256:[0-9a-f]{64})$", var.image)) && !endswith(var.image, ":latest")
    error_message = "Name a version: …/plumbline:1.2.3 or …/plumbline@sha256:…. \"latest\" is another one each time."
  }
}

variable "image_repository_arn" {
  description = "ARN of the image's repository in ECR; null: the image needs no sign-in."
  type        = string
  default     = null

  validation {
    condition     = var.image_repository_arn == null ? true : can(regex("^arn:aws[a-z-]*:ecr:[a-z0-9-]+:[0-9]{12}:repository/[^*]+$", var.image_repository_arn))
    error_message = "Write the ARN of one repository: arn:aws:ecr:eu-west-1:111122223333:repository/plumbline."
  }
}

variable "architecture" {
  description = "Of the image: X86_64 or ARM64."
  type        = string
  default     = "ARM64"

  validation {
    condition     = contains(["X86_64", "ARM64"], var.architecture)
    error_message = "X86_64 or ARM64."
  }
}

variable "copy_image" {
  description = "Image with the AWS command line, which fetches the configuration before Plumbline starts."
  type        = string
  default     = "public.ecr.aws/aws-cli/aws-cli:2.27.50"

  validation {
    condition     = can(regex("(:[A-Za-z0-9_][A-Za-z0-9_.-]*|@sha256:[0-9a-f]{64})$", var.copy_image)) && !endswith(var.copy_image, ":latest")
    error_message = "Name a version, as of image."
  }
}

variable "configuration" {
  description = "Files of the configuration by their names: plumbline.hcl and what it names (policies, keys). Everything but the server block, which the module writes. No secrets: write env(\"…\") and give them in secrets."
  type        = map(string)

  validation {
    condition     = anytrue([for name in keys(var.configuration) : can(regex("^[a-z0-9_-]+\\.hcl$", name))]) && !contains(keys(var.configuration), "server.hcl")
    error_message = "Give at least one NAME.hcl; server.hcl is the module's own."
  }

  validation {
    condition     = alltrue([for name in keys(var.configuration) : can(regex("^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$", name))])
    error_message = "Names are paths below the configuration's directory, such as \"policies/network.rego\"."
  }

  validation {
    condition     = alltrue([for text in values(var.configuration) : !can(regex("(?m)^\\s*server\\s*\\{", text))])
    error_message = "Take the server block out: the module writes it."
  }
}

variable "secrets" {
  description = "What env(\"…\") of the configuration reads: by the variable's name the ARN of a secret in Secrets Manager or a parameter in SSM."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name, arn in var.secrets : can(regex("^[A-Z][A-Z0-9_]*$", name)) && can(regex("^arn:aws[a-z-]*:(secretsmanager|ssm):[a-z0-9-]+:[0-9]{12}:(secret:|parameter/)[^*]+$", arn))])
    error_message = "Write NAME = ARN: FORGE_TOKEN = \"arn:aws:secretsmanager:eu-west-1:111122223333:secret:plumbline/forge-AbCdEf\"."
  }

  validation {
    condition     = !contains(keys(var.secrets), "PLUMBLINE_DATABASE_PASSWORD")
    error_message = "PLUMBLINE_DATABASE_PASSWORD is the module's own."
  }
}

variable "secret_key_arns" {
  description = "Keys of one's own that those secrets are encrypted with."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for a in var.secret_key_arns : can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[^*]+$", a))])
    error_message = "Write ARNs of keys, not of aliases."
  }
}

variable "runner_role_arns" {
  description = "Plan roles and apply roles that runs are given: outputs of runner-roles. Only with them does Plumbline reach an account."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for a in var.runner_role_arns : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/[^*]+$", a))])
    error_message = "Write ARNs of roles: arn:aws:iam::111122223333:role/plumbline-plan."
  }
}

variable "codecommit" {
  description = "Repositories of CodeCommit that Plumbline keeps: their ARNs, whether it opens promotions and rollbacks, whether it approves (approve = true of the forge block); null: none."
  type = object({
    repository_arns = set(string)
    promote         = optional(bool, false)
    approve         = optional(bool, false)
  })
  default = null

  validation {
    condition     = var.codecommit == null ? true : length(var.codecommit.repository_arns) > 0 && alltrue([for a in var.codecommit.repository_arns : can(regex("^arn:aws[a-z-]*:codecommit:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9._-]+$", a))])
    error_message = "Write ARNs of repositories: arn:aws:codecommit:eu-west-1:111122223333:infra."
  }
}

variable "events_queue_arn" {
  description = "The queue of codecommit-events; null: none."
  type        = string
  default     = null

  validation {
    condition     = var.events_queue_arn == null ? true : can(regex("^arn:aws[a-z-]*:sqs:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$", var.events_queue_arn))
    error_message = "Write the ARN of a queue: arn:aws:sqs:eu-west-1:111122223333:plumbline-codecommit."
  }
}

variable "notify_topic_arns" {
  description = "SNS topics of the notify \"sns\" blocks. A topic with a key of its own must let Plumbline's role use that key as well."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for a in var.notify_topic_arns : can(regex("^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+(\\.fifo)?$", a))])
    error_message = "Write ARNs of topics: arn:aws:sns:eu-west-1:111122223333:plumbline."
  }
}

variable "vpc_id" {
  description = "The network."
  type        = string
}

variable "service_subnet_ids" {
  description = "Private subnets of Plumbline, with a way to the forge, to AWS and to the registries of providers."
  type        = set(string)

  validation {
    condition     = length(var.service_subnet_ids) >= 2
    error_message = "Name two subnets or more, of two availability zones."
  }
}

variable "database_subnet_ids" {
  description = "Private subnets of the database, which needs no way out."
  type        = set(string)

  validation {
    condition     = length(var.database_subnet_ids) >= 2
    error_message = "Name two subnets or more, of two availability zones."
  }
}

variable "load_balancer_subnet_ids" {
  description = "Subnets of the load balancer; public ones when it is not internal."
  type        = set(string)

  validation {
    condition     = length(var.load_balancer_subnet_ids) >= 2
    error_message = "Name two subnets or more, of two availability zones."
  }
}

variable "internal" {
  description = "Whether the load balancer is reached from inside only. Plumbline needs no way in but for people and for webhooks."
  type        = bool
  default     = true
}

variable "allowed_cidrs" {
  description = "Addresses that reach the load balancer."
  type        = set(string)

  validation {
    condition     = length(var.allowed_cidrs) > 0 && alltrue([for c in var.allowed_cidrs : can(cidrnetmask(c)) && !endswith(c, "/0")])
    error_message = "Name ranges of IPv4 addresses, such as \"10.0.0.0/8\". Everybody is not let in: put a network of your own in front."
  }
}

variable "egress_cidrs" {
  description = "Addresses that Plumbline reaches over HTTPS: forge, AWS, registries."
  type        = set(string)
  default     = ["0.0.0.0/0"]

  validation {
    condition     = alltrue([for c in var.egress_cidrs : can(cidrnetmask(c))])
    error_message = "Name ranges of IPv4 addresses."
  }
}

variable "ssh_egress_cidrs" {
  description = "Addresses that Plumbline reaches over SSH: forges of the kind \"git\" with an ssh:// url, modules from Git."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for c in var.ssh_egress_cidrs : can(cidrnetmask(c))])
    error_message = "Name ranges of IPv4 addresses."
  }
}

variable "hostname" {
  description = "Name that people reach Plumbline by."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,}$", var.hostname))
    error_message = "Write a host's name in lower-case letters: plumbline.example.com."
  }
}

variable "certificate_arn" {
  description = "Certificate of that name in ACM."
  type        = string

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:acm:[a-z0-9-]+:[0-9]{12}:certificate/.+$", var.certificate_arn))
    error_message = "Write the ARN of a certificate in ACM, of the load balancer's region."
  }
}

variable "zone_id" {
  description = "Zone in Route 53 that gets the name; null: you write the record yourself."
  type        = string
  default     = null
}

variable "load_balancer_oidc" {
  description = "A sign-in at the load balancer, before Plumbline's own; null: Plumbline's own alone. The client secret is in the state. Paths of programs (/api/, /hooks/) go past it: tokens and signatures guard those."
  type = object({
    issuer                 = string
    authorization_endpoint = string
    token_endpoint         = string
    user_info_endpoint     = string
    client_id              = string
    client_secret          = string
  })
  default   = null
  sensitive = true

  validation {
    condition = var.load_balancer_oidc == null ? true : alltrue([
      for k in ["issuer", "authorization_endpoint", "token_endpoint", "user_info_endpoint"] : startswith(var.load_balancer_oidc[k], "https://")
    ])
    error_message = "Every address of the sign-in begins with https://."
  }
}

variable "web_acl_arn" {
  description = "Web ACL of WAF for the load balancer; null: none."
  type        = string
  default     = null
}

variable "access_log_bucket" {
  description = "Bucket that takes the load balancer's access log, under the prefix name; null: none is kept."
  type        = string
  default     = null
}

variable "cpu" {
  description = "CPU of the task in 1/1024 of a processor."
  type        = number
  default     = 2048

  validation {
    condition     = contains([1024, 2048, 4096, 8192, 16384], var.cpu)
    error_message = "Fargate has 1024, 2048, 4096, 8192 and 16384; with less Terraform is slow."
  }
}

variable "memory" {
  description = "Memory of the task in MiB; each Terraform process takes 300 to 1024."
  type        = number
  default     = 8192

  validation {
    condition     = var.memory >= 2048 && var.memory % 1024 == 0
    error_message = "Give whole GiB: 2048, 3072, 4096 …, as far as the CPU allows."
  }
}

variable "workers" {
  description = "Terraform processes at once; null: one for each 2 GiB of memory."
  type        = number
  default     = null

  validation {
    condition     = var.workers == null ? true : var.workers >= 1 && var.workers <= 256
    error_message = "1 to 256."
  }
}

variable "database_instance_class" {
  description = "Size of the database."
  type        = string
  default     = "db.t4g.small"
}

variable "database_version" {
  description = "Major version of PostgreSQL."
  type        = string
  default     = "17"

  validation {
    condition     = can(regex("^[0-9]{2}$", var.database_version)) && try(tonumber(var.database_version) >= 15, false)
    error_message = "A major version from 15: \"17\". Minor ones are taken by AWS in the maintenance window."
  }
}

variable "database_multi_az" {
  description = "Whether the database has a standby in another zone."
  type        = bool
  default     = true
}

variable "database_backup_days" {
  description = "How many days backups are kept."
  type        = number
  default     = 14

  validation {
    condition     = var.database_backup_days >= 7 && var.database_backup_days <= 35
    error_message = "7 to 35 days."
  }
}

variable "database_ca_bundle" {
  description = "Certificates of RDS for your region in PEM (https://truststore.pki.rds.amazonaws.com): by them Plumbline checks that it speaks with its database."
  type        = string

  validation {
    condition     = startswith(trimspace(var.database_ca_bundle), "-----BEGIN CERTIFICATE-----")
    error_message = "Give the certificates themselves, as in file(\"eu-west-1-bundle.pem\")."
  }
}

variable "database_password_version" {
  description = "Count it up to give the database a new password."
  type        = number
  default     = 1

  validation {
    condition     = var.database_password_version >= 1 && floor(var.database_password_version) == var.database_password_version
    error_message = "1, 2, 3 …"
  }
}

variable "deletion_protection" {
  description = "Whether load balancer and database refuse to be destroyed, and a last snapshot is taken."
  type        = bool
  default     = true
}

variable "log_retention_days" {
  description = "How long logs are kept."
  type        = number
  default     = 365

  validation {
    condition     = contains([30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "CloudWatch has 30, 60, 90, 120, 150, 180, 365, 400, 545, 731 and some more."
  }
}

variable "alarm_topic_arns" {
  description = "SNS topics that alarms go to. Without any, the alarms are there and tell nobody."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for a in var.alarm_topic_arns : can(regex("^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$", a))])
    error_message = "Write ARNs of topics: arn:aws:sns:eu-west-1:111122223333:alarms."
  }
}

variable "tags" {
  description = "Tags of everything that is made."
  type        = map(string)
  default     = {}
}
