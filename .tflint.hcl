# For what we hand out in Terraform: make check. The rules of AWS's own ruleset are a program of their own, which is not had here.
plugin "terraform" {
  enabled = true
  preset  = "all"
}

# An example is one file that people read from top to bottom.
rule "terraform_standard_module_structure" {
  enabled = false
}
