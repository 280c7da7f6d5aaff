variable "name" {
  description = "What the names of the roles begin with."
  type        = string
  default     = "plumbline"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,31}$", var.name))
    error_message = "A name has 1 to 32 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "path" {
  description = "Path of the roles and the policies."
  type        = string
  default     = "/"

  validation {
    condition     = can(regex("^/([A-Za-z0-9._-]+/)*$", var.path))
    error_message = "A path begins and ends with a slash: \"/plumbline/\"."
  }
}

variable "daemon_role_arns" {
  description = "Roles that Plumbline itself runs with: they, and nobody else, may assume the plan role and the apply role."
  type        = set(string)

  validation {
    condition     = length(var.daemon_role_arns) > 0 && alltrue([for a in var.daemon_role_arns : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/[^*]+$", a))])
    error_message = "Name one role or more: arn:aws:iam::111122223333:role/plumbline-task. A whole account, or anybody, is not let in."
  }
}

variable "external_id" {
  description = "What Plumbline proves itself with beside its role: external_id of the environment's aws block."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_+=,.@:/-]+$", var.external_id)) && length(var.external_id) >= 2 && length(var.external_id) <= 1224
    error_message = "An external ID has 2 to 1,224 of A-Z, a-z, 0-9 and _+=,.@:/-."
  }
}

variable "repositories" {
  description = "Repositories, as they are called in plumbline.hcl, whose runs may have these roles."
  type        = set(string)

  validation {
    condition     = length(var.repositories) > 0 && alltrue([for r in var.repositories : can(regex("^[a-z0-9][a-z0-9._-]{0,62}$", r))])
    error_message = "Name one repository or more, as the repository blocks of plumbline.hcl are called."
  }
}

variable "environments" {
  description = "Environments, as they are called in plumbline.hcl, whose runs may have these roles."
  type        = set(string)

  validation {
    condition     = length(var.environments) > 0 && alltrue([for e in var.environments : can(regex("^[a-z0-9][a-z0-9._-]{0,62}$", e))])
    error_message = "Name one environment or more, as the environment blocks of plumbline.hcl are called."
  }
}

variable "state" {
  description = "Where the states are: the bucket and the key of state-backend, and which objects are these environments'."
  type = object({
    bucket_arn  = string
    kms_key_arn = string
    keys        = set(string)
  })

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:s3:::[a-z0-9.-]+$", var.state.bucket_arn)) && can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", var.state.kms_key_arn))
    error_message = "bucket_arn is the ARN of a bucket, kms_key_arn that of a key: outputs of state-backend."
  }

  validation {
    condition     = length(var.state.keys) > 0 && alltrue([for k in var.state.keys : can(regex("^[^*/][^*]*(/\\*)?$", k))])
    error_message = "keys are keys of states, or all below one: \"production/*\". A star stands at the end only, so that no role reaches every state."
  }
}

variable "plan_policy_arns" {
  description = "What the plan role may read, by any name; default: AWS's own ReadOnlyAccess."
  type        = map(string)
  default     = null

  validation {
    condition     = var.plan_policy_arns == null ? true : alltrue([for a in values(var.plan_policy_arns) : can(regex("^arn:aws[a-z-]*:iam::(aws|[0-9]{12}):policy/", a)) && !can(regex("/(AdministratorAccess|PowerUserAccess|.*FullAccess)$", a))])
    error_message = "Name policies that read: the plan of a merge request is code that nobody has looked at."
  }
}

variable "plan_denied_actions" {
  description = "Actions that the plan role never has, though its policies read: they hand out data, not settings. Take out what your stacks' data sources need."
  type        = set(string)
  default = [
    "athena:GetQueryResults",
    "codecommit:GetFile",
    "codecommit:GitPull",
    "dynamodb:BatchGetItem",
    "dynamodb:GetItem",
    "dynamodb:GetRecords",
    "dynamodb:PartiQLSelect",
    "dynamodb:Query",
    "dynamodb:Scan",
    "ecr:BatchGetImage",
    "ecr:GetDownloadUrlForLayer",
    "kinesis:GetRecords",
    "logs:FilterLogEvents",
    "logs:GetLogEvents",
    "logs:GetQueryResults",
    "logs:StartQuery",
    "secretsmanager:BatchGetSecretValue",
    "secretsmanager:GetSecretValue",
    "sqs:ReceiveMessage",
    "sts:AssumeRole",
  ]

  validation {
    condition     = length(var.plan_denied_actions) > 0 && alltrue([for a in var.plan_denied_actions : can(regex("^[a-z0-9-]+:[A-Za-z*]+$", a))])
    error_message = "An action is SERVICE:Name. One at least is denied."
  }
}

variable "plan_readable_objects" {
  description = "Objects in S3 besides the states that the plan role may read, as ARNs: files that stacks read with data \"aws_s3_object\"."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for a in var.plan_readable_objects : can(regex("^arn:aws[a-z-]*:s3:::[a-z0-9.-]+/.+$", a))])
    error_message = "Write ARNs of objects: arn:aws:s3:::acme-artifacts/releases/*."
  }
}

variable "apply_policy_arns" {
  description = "What the apply role may do, within its boundary: ARNs of policies that fit your stacks, by any name."
  type        = map(string)

  validation {
    condition     = length(var.apply_policy_arns) > 0 && alltrue([for a in values(var.apply_policy_arns) : can(regex("^arn:aws[a-z-]*:iam::(aws|[0-9]{12}):policy/", a)) && !endswith(a, "/AdministratorAccess")])
    error_message = "Name one policy or more, and not AdministratorAccess: write down what your stacks need."
  }
}

variable "apply_services" {
  description = "Services that the apply role can ever do anything in, whatever its policies say: the boundary. IAM is dealt with by apply_iam_path."
  type        = set(string)

  validation {
    condition     = length(var.apply_services) > 0 && alltrue([for s in var.apply_services : can(regex("^[a-z0-9-]+$", s)) && !contains(["account", "iam", "organizations", "sso", "sts"], s)])
    error_message = "Write prefixes of actions such as \"ec2\"; iam, sts, organizations, account and sso cannot be among them."
  }
}

variable "apply_iam_path" {
  description = "Path below which the apply role may make roles and policies, each role with the same boundary as its own; null: it may not touch IAM at all."
  type        = string
  default     = null

  validation {
    condition     = var.apply_iam_path == null ? true : can(regex("^/([A-Za-z0-9._-]+/)+$", var.apply_iam_path))
    error_message = "A path begins and ends with a slash and is not \"/\": \"/workloads/\"."
  }

  validation {
    condition     = var.apply_iam_path == null ? true : !startswith(var.path, var.apply_iam_path)
    error_message = "The roles of this module must lie outside of the path, or the apply role could change them."
  }
}

variable "plan_max_session" {
  description = "Longest session of the plan role, in seconds."
  type        = number
  default     = 3600

  validation {
    condition     = var.plan_max_session >= 3600 && var.plan_max_session <= 43200
    error_message = "AWS takes 3600 to 43200."
  }
}

variable "apply_max_session" {
  description = "Longest session of the apply role, in seconds. A session that was opened from another role, as Plumbline's are, lasts an hour at most whatever stands here."
  type        = number
  default     = 3600

  validation {
    condition     = var.apply_max_session >= 3600 && var.apply_max_session <= 43200
    error_message = "AWS takes 3600 to 43200."
  }
}

variable "tags" {
  description = "Tags of everything that is made."
  type        = map(string)
  default     = {}
}
