variable "name" {
  description = "Name of the queue; other names begin with it."
  type        = string
  default     = "plumbline-codecommit"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,43}$", var.name))
    error_message = "A name has 1 to 44 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "repositories" {
  description = "Names of the repositories in CodeCommit of this account and region that Plumbline keeps."
  type        = set(string)

  validation {
    condition     = length(var.repositories) > 0 && alltrue([for r in var.repositories : can(regex("^[A-Za-z0-9._-]{1,100}$", r)) && !endswith(r, ".git")])
    error_message = "Name one repository or more: 1 to 100 letters, digits, \".\", \"_\" and \"-\", without \".git\"."
  }
}

variable "readers" {
  description = "Roles of other accounts that may read the queue: where Plumbline runs elsewhere. Roles of this account need no entry: their own policies are enough."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for a in var.readers : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/[^*]+$", a))])
    error_message = "Write ARNs of roles: arn:aws:iam::111122223333:role/plumbline-task."
  }
}

variable "retention_seconds" {
  description = "How long an event that nobody reads is kept. Polling finds what was missed, so an hour is plenty."
  type        = number
  default     = 3600

  validation {
    condition     = var.retention_seconds >= 60 && var.retention_seconds <= 1209600
    error_message = "SQS takes 60 to 1209600."
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
