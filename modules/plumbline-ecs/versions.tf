terraform {
  required_version = ">= 1.11" # write-only arguments, which keep the database's password out of the state

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0"
    }
    random = {
      source  = "hashicorp/random"
      version = ">= 3.7"
    }
  }
}
