package redact

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/redact/redacttest"
)

// terraformLog returns n bytes of what Terraform says during a plan of 30 kinds of resources. A line in 30 has a word such as "secret" in it.
func terraformLog(n int) string {
	kinds := strings.Fields(`aws_subnet aws_instance aws_route aws_route_table aws_security_group aws_security_group_rule aws_iam_role aws_iam_role_policy
		aws_s3_bucket aws_s3_bucket_policy aws_lambda_function aws_cloudwatch_log_group aws_ecs_service aws_ecs_task_definition aws_lb aws_lb_listener
		aws_lb_target_group aws_db_instance aws_db_subnet_group aws_kms_key aws_kms_alias aws_sqs_queue aws_sns_topic aws_route53_record aws_vpc
		aws_nat_gateway aws_eip aws_ecr_repository aws_dynamodb_table aws_secretsmanager_secret`)
	rng := rand.New(rand.NewPCG(5, 6))
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		address := fmt.Sprintf("module.%s[%d].%s.main", []string{"network", "app", "data"}[i%3], i%7, kinds[rng.IntN(len(kinds))])
		switch i % 4 {
		case 0:
			fmt.Fprintf(&b, "%s: Refreshing state... [id=%s-%017x]\n", address, "id", rng.Uint64())
		case 1:
			fmt.Fprintf(&b, "%s: Still creating... [%dm%ds elapsed]\n", address, i%9, i%60)
		case 2:
			fmt.Fprintf(&b, "  # %s will be updated in-place\n  ~ resource \"x\" \"main\" {\n      ~ arn  = \"arn:aws:sts::123456789012:role/main-%d\" -> (known after apply)\n", address, i)
		default:
			fmt.Fprintf(&b, `{"@level":"info","@message":"%s: Creation complete after %ds [id=%016x]","@module":"terraform.ui","@timestamp":"2024-05-01T12:00:00.123456Z","type":"apply_complete"}`+"\n", address, i%60, rng.Uint64())
		}
	}
	return b.String()[:n]
}

func BenchmarkShapes(b *testing.B) {
	known, _ := sample(1)
	ordinary := strings.Join(redacttest.Ordinary(), "\n") + "\n"
	var planted strings.Builder
	for i, s := range redacttest.Secrets() {
		fmt.Fprintf(&planted, "%d: %s\n", i, s.Text)
	}
	for name, text := range map[string]string{
		"log":      terraformLog(10 << 20),
		"hard":     strings.Repeat(ordinary, 1<<20/len(ordinary)), // every line of the false positives
		"secrets":  planted.String(),
		"one line": strings.ReplaceAll(terraformLog(1<<20), "\n", " "),
	} {
		b.Run("String/"+name, func(b *testing.B) {
			m := known.WithShapes()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				_ = m.String(text)
			}
		})
		b.Run("Writer/"+name, func(b *testing.B) {
			m := known.WithShapes()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				w := m.Writer(discard{})
				for line := range strings.Lines(text) {
					if _, err := w.Write([]byte(line)); err != nil {
						b.Fatal(err)
					}
				}
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLoad is what a process pays once: for reading the rules, and for each Masker that knows a few values.
func BenchmarkLoad(b *testing.B) {
	b.Run("rules", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if len(readShapes().rules) == 0 {
				b.Fatal("no rules")
			}
		}
	})
	b.Run("masker", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = New("hunter22", "opensesame").WithShapes()
		}
	})
}
