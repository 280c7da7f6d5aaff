package runner

import "testing"

func TestContents(t *testing.T) {
	for _, tc := range []struct {
		name, file, text string
		byItself         bool
		ignoring         string // may be ignored, of fs_file.a and fs_file.b
	}{
		{"plain", "main.tf", "# timestamp()\nresource \"fs_file\" \"a\" {\n  name = \"timestamp()\"\n}\n", false, ""},
		{"timestamp", "main.tf", "locals {\n  at = formatdate(\"YYYY\", timestamp())\n}\n", true, ""},
		{"in a template", "main.tf", "resource \"fs_file\" \"a\" {\n  name = \"x-${uuid()}\"\n}\n", true, ""},
		{"plantimestamp", "main.tofu", "output \"x\" {\n  value = plantimestamp()\n}\n", true, ""},
		{"bcrypt, nested", "main.tf", "resource \"fs_file\" \"a\" {\n  inner {\n    name = bcrypt(var.x)\n  }\n}\n", true, ""},
		{"uuidv5 is the same each time", "main.tf", "locals {\n  at = uuidv5(\"dns\", \"x\")\n}\n", false, ""},
		{"data source", "main.tf", "data \"fs_file\" \"a\" {}\n", true, ""},
		{"ignore_changes", "main.tf", "resource \"fs_file\" \"a\" {\n  lifecycle {\n    ignore_changes = [name]\n  }\n}\nresource \"fs_file\" \"b\" {\n  lifecycle {\n    prevent_destroy = true\n  }\n}\n", false, "a"},
		{"broken", "main.tf", "resource {", true, "ab"},
		{"JSON", "main.tf.json", `{"resource":{"fs_file":{"a":{"name":"x"}}}}`, false, ""},
		{"JSON, timestamp", "main.tf.json", `{"locals":{"x":"${timestamp()}"}}`, true, ""},
		{"JSON, data source and ignore_changes", "main.tf.json", `{"data": {"fs_file":{"a":{}}}, "resource":{"fs_file":{"a":{"lifecycle":{"ignore_changes":["name"]}}}}}`, true, "ab"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := contents{ignoring: map[string]bool{}}
			f.add(tc.file, []byte(tc.text))
			ignoring := ""
			for _, name := range []string{"a", "b"} {
				if f.mayIgnore(`module.m["a.b"].fs_file.`+name+"[0]") || f.mayIgnore("fs_file."+name) {
					ignoring += name
				}
			}
			if f.byItself != tc.byItself || ignoring != tc.ignoring {
				t.Errorf("by itself %t, ignoring %q", f.byItself, ignoring)
			}
		})
	}
}
