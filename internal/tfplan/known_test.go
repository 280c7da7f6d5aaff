package tfplan_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/tfplan"
)

// TestKnown: of an object of AWS that drifted, what names it there is kept, whether it changed or not, and nothing sensitive.
func TestKnown(t *testing.T) {
	const arn = "arn:aws:ec2:eu-west-1:111122223333:security-group/sg-1"
	for _, c := range []struct {
		name, kind, before, beforeSensitive, after, afterSensitive string
		want                                                       map[string]string
	}{
		{
			name: "changed", kind: "aws_security_group", before: `{"id":"sg-1","arn":"` + arn + `","name":"web","description":"a","region":"eu-west-1"}`, beforeSensitive: `{}`,
			after: `{"id":"sg-1","arn":"` + arn + `","name":"web","description":"b","region":"eu-west-1"}`, afterSensitive: `{}`,
			want: map[string]string{"id": "sg-1", "arn": arn, "name": "web", "region": "eu-west-1"},
		},
		{name: "deleted", kind: "aws_security_group", before: `{"id":"sg-1","arn":null,"name":""}`, beforeSensitive: `{}`, after: `null`, afterSensitive: `false`, want: map[string]string{"id": "sg-1"}},
		{name: "marked before", kind: "aws_x", before: `{"id":"sg-1","name":"web"}`, beforeSensitive: `{"name":true}`, after: `{"id":"sg-1","name":"api"}`, afterSensitive: `{}`, want: map[string]string{"id": "sg-1"}},
		{name: "marked after", kind: "aws_x", before: `{"id":"sg-1","name":"web"}`, beforeSensitive: `{}`, after: `{"id":"sg-1","name":"api"}`, afterSensitive: `{"name":true}`, want: map[string]string{"id": "sg-1"}},
		{name: "all of it marked", kind: "aws_x", before: `{"id":"sg-1","name":"web"}`, beforeSensitive: `true`, after: `{"id":"sg-1","name":"api"}`, afterSensitive: `true`},
		{name: "no texts", kind: "aws_x", before: `{"id":7,"name":["web"]}`, beforeSensitive: `{}`, after: `{"id":8,"name":["web"]}`, afterSensitive: `{}`},
		{name: "too long", kind: "aws_x", before: `{"id":"` + strings.Repeat("x", 3000) + `","name":"web"}`, beforeSensitive: `{}`, after: `{"id":"y","name":"web"}`, afterSensitive: `{}`, want: map[string]string{"name": "web"}},
		{name: "another cloud", kind: "google_x", before: `{"id":"1","name":"web"}`, beforeSensitive: `{}`, after: `{"id":"1","name":"api"}`, afterSensitive: `{}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan := fmt.Sprintf(`{"format_version":"1.2","terraform_version":"1.11.4","resource_drift":[{"address":"%s.web","mode":"managed","type":%q,"name":"web",`+
				`"provider_name":"registry.terraform.io/hashicorp/aws","change":{"actions":[%q],"before":%s,"after":%s,"after_unknown":{},"before_sensitive":%s,"after_sensitive":%s}}]}`,
				c.kind, c.kind, map[bool]string{true: "delete", false: "update"}[c.after == "null"], c.before, c.after, c.beforeSensitive, c.afterSensitive)
			p, err := tfplan.Read(strings.NewReader(plan), tfplan.Options{})
			if err != nil || len(p.Drift) != 1 {
				t.Fatalf("%+v, %v", p, err)
			}
			if got := p.Drift[0].Known; !maps.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
			if len(c.want) == 0 {
				return
			}
			differences := []plumbline.Difference{{Known: maps.Clone(p.Drift[0].Known)}}
			mask := func(s string) string { return strings.ReplaceAll(s, "web", plumbline.Masked) }
			tfplan.Mask(&p, mask)
			tfplan.MaskDifferences(differences, mask)
			for _, got := range []map[string]string{p.Drift[0].Known, differences[0].Known} {
				if _, ok := got["name"]; ok {
					t.Errorf("%v, want no name: it is somebody's secret", got)
				}
			}
		})
	}
}
