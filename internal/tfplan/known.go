package tfplan

import "strings"

// knownNames are what tells an object to AWS, in whose logs it is looked for after it has drifted. Of other clouds nothing is looked for.
var knownNames = []string{"arn", "id", "name", "region"}

// maxKnownValue is longer than any ARN.
const maxKnownValue = 2048

// known picks them from an object that has drifted, as they were before, since one that was deleted has none after. What is marked as sensitive is
// left out.
func known(kind string, p place) map[string]string {
	if !strings.HasPrefix(kind, "aws_") {
		return nil
	}
	var out map[string]string
	for _, name := range knownNames {
		v := valueOf(p.before, name)
		if kindOf(v) != str || len(v) > maxKnownValue || kindOf(p.beforeSensitive) == yes || anyTrue(valueOf(p.beforeSensitive, name)) ||
			kindOf(p.afterSensitive) == yes || anyTrue(valueOf(p.afterSensitive, name)) {
			continue
		}
		if s := string(text(v)); s != "" {
			if out == nil {
				out = map[string]string{}
			}
			out[name] = s
		}
	}
	return out
}

// maskKnown drops what mask takes for a secret: half an ID finds nothing.
func maskKnown(known map[string]string, mask func(string) string) {
	for name, value := range known {
		if mask(value) != value {
			delete(known, name)
		}
	}
}
