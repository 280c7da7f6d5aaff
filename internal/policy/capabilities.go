package policy

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// absent are the functions of Rego that policies do not have, with the reason.
var absent = map[string]string{
	"http.send":          "it reaches out to the network",
	"net.lookup_ip_addr": "it reaches out to the network",
	// A schema may refer to others by URL or by file, whatever the engine is told about the network.
	"json.match_schema":  "its schemas can be fetched from the network and from files",
	"json.verify_schema": "its schemas can be fetched from the network and from files",

	"opa.runtime": "it tells the environment of the process",

	"rand.intn":                    "it answers differently each time",
	"uuid.rfc4122":                 "it answers differently each time",
	"io.jwt.encode_sign":           "it answers differently each time",
	"io.jwt.encode_sign_raw":       "it answers differently each time",
	certificates:                   "it goes by the clock of the machine",
	certificates + "_with_options": "it goes by the clock of the machine",

	// Its work grows exponentially with its input, and it does not look whether it was told to stop.
	"graph.reachable_paths": "it cannot be stopped",
}

const certificates = "crypto.x509.parse_and_verify_certificates"

// capabilities are what is left of Rego.
func capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool { return absent[b.Name] != "" })
	c.AllowNet = []string{} // nil would be every host
	return c
}
