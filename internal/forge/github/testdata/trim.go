//go:build ignore

// Trims GitHub's OpenAPI description to the operations that the adapter uses and what they refer to.
//
//	npm pack @octokit/openapi@23.0.2 && tar xzf octokit-openapi-23.0.2.tgz
//	go run trim.go <package/generated/api.github.com.json >api.github.com.trimmed.json
package main

import (
	"encoding/json"
	"log"
	"maps"
	"os"
	"slices"
	"strings"
)

var operations = strings.Fields(`
	users/get-authenticated users/get-by-username repos/get repos/list-activities
	apps/get-authenticated apps/get-repo-installation apps/create-installation-access-token
	pulls/list pulls/get pulls/create pulls/update pulls/list-reviews
	issues/list-comments issues/create-comment issues/update-comment issues/delete-comment
	reactions/list-for-issue-comment reactions/create-for-issue-comment reactions/delete-for-issue-comment
	issues/list-for-repo issues/create issues/update issues/add-labels
	repos/create-commit-status repos/get-combined-status-for-ref
	repos/list-deployments repos/create-deployment repos/list-deployment-statuses repos/create-deployment-status
	checks/create checks/update checks/list-for-ref`)

func main() {
	var doc map[string]any
	if err := json.NewDecoder(os.Stdin).Decode(&doc); err != nil {
		log.Fatal(err)
	}
	wanted := map[string]bool{}
	for _, id := range operations {
		wanted[id] = true
	}
	paths := map[string]any{}
	for path, item := range doc["paths"].(map[string]any) {
		kept := map[string]any{}
		for method, op := range item.(map[string]any) {
			if op, ok := op.(map[string]any); ok && wanted[op["operationId"].(string)] {
				kept[method] = op
				delete(wanted, op["operationId"].(string))
			}
		}
		if len(kept) > 0 {
			paths[path] = kept
		}
	}
	if len(wanted) > 0 {
		log.Fatalf("not in the description: %v", wanted)
	}
	t := trimmer{doc: doc, components: map[string]any{}}
	out := map[string]any{
		"openapi": doc["openapi"], "info": doc["info"], "servers": doc["servers"],
		"paths": t.trim(paths, false), "components": t.components,
	}
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", " ")
	e.SetEscapeHTML(false)
	if err := e.Encode(out); err != nil {
		log.Fatal(err)
	}
}

type trimmer struct {
	doc, components map[string]any
}

// trim leaves out prose, and examples except those of whole answers. named says that the keys are names, not keywords.
func (t trimmer) trim(v any, named bool) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = t.trim(v[i], false)
		}
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok && !named {
			t.keep(ref)
			return map[string]any{"$ref": ref}
		}
		for k, sub := range v {
			_, isText := sub.(string)
			switch {
			case named:
				v[k] = t.trim(sub, false)
			case strings.HasPrefix(k, "x-"), k == "externalDocs", k == "summary", k == "tags", k == "example", k == "description" && isText:
				delete(v, k)
			case k == "examples":
				v[k] = t.examples(sub)
			case k == "value", k == "enum", k == "default": // data
			default:
				v[k] = t.trim(sub, k == "properties" || k == "patternProperties" || k == "responses" || k == "content" || k == "headers")
			}
		}
		if _, isResponse := v["content"]; isResponse && !named {
			v["description"] = "" // required by OpenAPI
		}
	}
	return v
}

func (t trimmer) examples(v any) any {
	all, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	first := slices.Sorted(maps.Keys(all))[0]
	if all["default"] != nil {
		first = "default"
	}
	return map[string]any{first: t.trim(all[first], false)}
}

// keep copies what a reference names.
func (t trimmer) keep(ref string) {
	parts := strings.Split(strings.TrimPrefix(ref, "#/components/"), "/")
	section, _ := t.components[parts[0]].(map[string]any)
	if section == nil {
		section = map[string]any{}
		t.components[parts[0]] = section
	}
	if _, ok := section[parts[1]]; ok {
		return
	}
	from := t.doc["components"].(map[string]any)[parts[0]].(map[string]any)[parts[1]]
	section[parts[1]] = from // before it is looked into: some refer to themselves
	section[parts[1]] = t.trim(from, false)
}
