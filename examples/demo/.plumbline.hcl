# The order in which stacks are applied. It cannot be read off the files here, because the states' place is a variable.

stack "network" {
  dir = "live/network"
}

stack "dns" {
  dir        = "live/dns"
  depends_on = ["network"]
}

stack "database" {
  dir        = "live/database"
  depends_on = ["network"]
}

stack "app" {
  dir        = "live/app"
  depends_on = ["dns", "database"]
}

stack "monitoring" {
  dir        = "live/monitoring"
  depends_on = ["app"]
}
