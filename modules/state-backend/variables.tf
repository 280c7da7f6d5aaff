variable "bucket" {
  description = "Name of the bucket. It is unique in all of AWS, so begin it with the name of your organisation."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "A bucket's name has 3 to 63 lower-case letters, digits and hyphens, and begins and ends with a letter or digit. Dots break TLS."
  }
}

variable "access_log_bucket" {
  description = "Name of the bucket that takes the access log, under the prefix of the bucket's own name; null: none is kept."
  type        = string
  default     = null
}

variable "noncurrent_version_days" {
  description = "How many days an earlier version of a state is kept. The newest ten stay in any case."
  type        = number
  default     = 90

  validation {
    condition     = var.noncurrent_version_days >= 7 && floor(var.noncurrent_version_days) == var.noncurrent_version_days
    error_message = "Keep earlier versions for 7 whole days or more: they are the only way back from a state that was overwritten."
  }
}

variable "key_deletion_window_days" {
  description = "How many days the key can still be brought back after somebody asked for its deletion."
  type        = number
  default     = 30

  validation {
    condition     = var.key_deletion_window_days >= 7 && var.key_deletion_window_days <= 30
    error_message = "AWS takes 7 to 30 days."
  }
}

variable "readers" {
  description = "Roles of other accounts that may read states and hold locks, by any name: their ARN, and the keys of the states as patterns. Roles of this account need no entry: their own policies are enough."
  type = map(object({
    role_arn = string
    keys     = set(string)
  }))
  default = {}

  validation {
    condition     = alltrue([for r in values(var.readers) : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/[^*]+$", r.role_arn))])
    error_message = "role_arn is the ARN of one role: arn:aws:iam::111122223333:role/plumbline-plan."
  }

  validation {
    condition     = alltrue([for r in values(var.readers) : length(r.keys) > 0])
    error_message = "Every reader has at least one key, such as \"production/*\"."
  }
}

variable "writers" {
  description = "Roles of other accounts that may write states too, as in readers."
  type = map(object({
    role_arn = string
    keys     = set(string)
  }))
  default = {}

  validation {
    condition     = alltrue([for r in values(var.writers) : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/[^*]+$", r.role_arn))])
    error_message = "role_arn is the ARN of one role: arn:aws:iam::111122223333:role/plumbline-apply."
  }

  validation {
    condition     = alltrue([for r in values(var.writers) : length(r.keys) > 0])
    error_message = "Every writer has at least one key, such as \"production/*\"."
  }
}

variable "force_destroy" {
  description = "Destroy the bucket with every state in it. For tests only."
  type        = bool
  default     = false
}

variable "tags" {
  description = "Tags of everything that is made."
  type        = map(string)
  default     = {}
}
