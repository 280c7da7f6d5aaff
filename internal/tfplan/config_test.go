package tfplan

import (
	"fmt"
	"strings"
	"testing"
)

// TestConfig: what decides what an apply does and is no change tells two plans of the same changes apart.
func TestConfig(t *testing.T) {
	const provider = `"provider_config":{"aws":{"name":"aws","expressions":{"region":{"constant_value":"eu-west-1"}}}}`
	const resource = `{"address":"terraform_data.a","provisioners":[{"type":"local-exec","expressions":{"command":{"constant_value":"true"}}}]}`
	module := func(inner string) string { return `"module_calls":{"net":{"source":"./net","module":{` + inner + `}}}` }
	config := func(provider, resource, inner string) string {
		return `"configuration":{` + provider + `,"root_module":{"variables":{"region":{"sensitive":true,"default":"x"}},"resources":[` + resource + `],` + module(inner) + `}}`
	}
	plan := func(version, variable, config string) string {
		return `{"format_version":"1.2","terraform_version":"` + version + `","variables":{"region":{"value":"` + variable + `"}},` + config + `}`
	}
	read := func(key, in string) string {
		t.Helper()
		p, err := Read(strings.NewReader(in), Options{Key: []byte(key)})
		if err != nil {
			t.Fatalf("%v\n%s", err, in)
		}
		return p.Config
	}
	base := plan("1.11.4", "eu", config(provider, resource, `"resources":[]`))
	want := read("k", base)
	if len(want) != 64 || want != read("k", base) {
		t.Fatalf("config %q", want)
	}
	turned := `{` + strings.TrimPrefix(config(provider, resource, `"resources":[]`), "") + `,"variables":{"region":{"value":"eu"}},"terraform_version":"1.11.4","format_version":"1.2"}`
	if got := read("k", turned); got != want {
		t.Error("the order of sections counts")
	}
	if got := read("", base); got != "" {
		t.Errorf("without a key: %q", got)
	}
	for name, in := range map[string]string{
		"the engine's version":                 plan("1.11.5", "eu", config(provider, resource, `"resources":[]`)),
		"a variable":                           plan("1.11.4", "us", config(provider, resource, `"resources":[]`)),
		"a provider's setting":                 plan("1.11.4", "eu", config(strings.Replace(provider, "eu-west-1", "us-east-1", 1), resource, `"resources":[]`)),
		"a provisioner":                        plan("1.11.4", "eu", config(provider, strings.Replace(resource, `"true"`, `"false"`, 1), `"resources":[]`)),
		"another resource":                     plan("1.11.4", "eu", config(provider, resource+","+resource, `"resources":[]`)),
		"a provisioner in a module":            plan("1.11.4", "eu", config(provider, resource, `"resources":[`+resource+`]`)),
		"a module two deep":                    plan("1.11.4", "eu", config(provider, resource, module(`"resources":[`+resource+`]`))),
		"a resource that is in a module":       plan("1.11.4", "eu", config(provider, `{}`, `"resources":[`+resource+`]`)),
		"a default of a module's own variable": plan("1.11.4", "eu", config(provider, resource, `"resources":[],"variables":{"x":{"default":1}}`)),
		"an output's expression":               plan("1.11.4", "eu", config(provider, resource, `"resources":[],"outputs":{"x":{"expression":{}}}`)),
	} {
		if read("k", in) == want {
			t.Errorf("%s is not seen", name)
		}
	}
	if read("l", base) == want {
		t.Error("the key does not count")
	}
	// A secret variable is in it, and not in clear.
	if s := fmt.Sprint(read("k", plan("1.11.4", "hunter22hunter22", config(provider, resource, `"resources":[]`)))); strings.Contains(s, "hunter") {
		t.Error(s)
	}
}
