package tfplan

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// generated is a plan that makes its parts while it is read. Each resource takes about 8 kB in all sections together; four of
// five change, which is the worst that a real plan comes to.
type generated struct {
	resources int
	part      int // 0: head; then one for each resource and section
	buf       bytes.Buffer
	onRead    func()
}

func (g *generated) Read(p []byte) (int, error) {
	if g.onRead != nil {
		g.onRead()
	}
	for g.buf.Len() == 0 {
		if !g.next() {
			return 0, io.EOF
		}
	}
	return g.buf.Read(p)
}

// values writes the attributes of resource i; variant 1 differs from 0 in a few places.
func (g *generated) values(i, variant int) {
	fmt.Fprintf(&g.buf, `{"ami":"ami-%08d","arn":"arn:aws:ec2:eu-west-1:111122223333:instance/i-%017d","ebs_block_device":[`, i+variant, i)
	for d := range 4 {
		fmt.Fprintf(&g.buf, `{"delete_on_termination":true,"device_name":"/dev/sd%d","encrypted":false,"iops":%d,"kms_key_id":"","snapshot_id":null,"tags":{},"throughput":0,"volume_id":"vol-%017d","volume_size":%d,"volume_type":"gp3"},`, d, 3000+variant*d, i*8+d, 8*d)
	}
	fmt.Fprintf(&g.buf, `{}],"id":"i-%017d","instance_type":"t3.%d","password":"secret-%d-%d","tags":{"Name":"web-%d","kubernetes.io/role":"node","team":"a"},"timeouts":null,"user_data":%q,"vpc_security_group_ids":["sg-1","sg-2","sg-%d"]}`,
		i, variant, i, variant, i, fmt.Sprintf("#!/bin/sh\nexport A=\"%d\"\n%0600d", i, i), i+variant)
}

func (g *generated) next() bool {
	n, i := g.resources, g.part-1
	g.part++
	switch {
	case i == -1:
		g.buf.WriteString(`{"format_version":"1.2","terraform_version":"1.11.4","planned_values":{"root_module":{"resources":[`)
	case i < n:
		g.comma(i)
		fmt.Fprintf(&g.buf, `{"address":"aws_instance.web[%d]","mode":"managed","type":"aws_instance","name":"web","values":`, i)
		g.values(i, 1)
		g.buf.WriteString(`,"sensitive_values":{"password":true}}`)
		if i == n-1 {
			g.buf.WriteString(`]}},"resource_changes":[`)
		}
	case i < 2*n:
		i -= n
		g.comma(i)
		fmt.Fprintf(&g.buf, `{"address":"aws_instance.web[%d]","mode":"managed","type":"aws_instance","name":"web","index":%d,"provider_name":"registry.terraform.io/hashicorp/aws","change":{"actions":`, i, i)
		actions := [...]string{`["no-op"]`, `["update"]`, `["create"]`, `["delete","create"]`, `["update"]`}[i%5]
		g.buf.WriteString(actions + `,"before":`)
		if i%5 == 2 {
			g.buf.WriteString("null")
		} else {
			g.values(i, 0)
		}
		g.buf.WriteString(`,"after":`)
		g.values(i, min(i%5, 1))
		g.buf.WriteString(`,"after_unknown":{"ebs_block_device":[{},{},{},{},{"volume_id":true}],"tags":{},"vpc_security_group_ids":[false,false,false]},"before_sensitive":{"password":true,"tags":{}},"after_sensitive":{"ebs_block_device":[{},{},{},{},{}],"password":true}`)
		if i%5 == 3 {
			g.buf.WriteString(`,"replace_paths":[["ami"]]`)
		}
		g.buf.WriteString(`}}`)
		if i == n-1 {
			g.buf.WriteString(`],"prior_state":{"format_version":"1.0","values":{"root_module":{"resources":[`)
		}
	case i < 3*n:
		i -= 2 * n
		g.comma(i)
		fmt.Fprintf(&g.buf, `{"address":"aws_instance.web[%d]","mode":"managed","type":"aws_instance","name":"web","values":`, i)
		g.values(i, 0)
		g.buf.WriteString(`,"sensitive_values":{"password":true}}`)
		if i == n-1 {
			g.buf.WriteString(`]}}},"applyable":true,"complete":true,"errored":false}`)
		}
	default:
		return false
	}
	return true
}

func (g *generated) comma(i int) {
	if i > 0 {
		g.buf.WriteByte(',')
	}
}

// TestPeakMemory shows that the memory for reading does not grow with the input.
func TestPeakMemory(t *testing.T) {
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse
	}
	runtime.GC()
	before, peak, reads := heap(), uint64(0), 0
	in := &generated{resources: 10_000, onRead: func() {
		if reads++; reads%64 == 0 {
			peak = max(peak, heap())
		}
	}}
	p, err := Read(in, Options{Key: testKey})
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Summary.String(); got != "+2000 ~4000 ±2000" {
		t.Errorf("summary %s", got)
	}
	peak = max(peak, heap())
	mib := float64(peak-min(peak, before)) / (1 << 20)
	t.Logf("peak heap beyond what was there: %.1f MiB, result included", mib)
	if mib > 40 {
		t.Errorf("peak heap %.1f MiB; 40 allowed", mib)
	}
	runtime.KeepAlive(p)
}

func generate(b *testing.B, resources int) []byte {
	b.Helper()
	doc, err := io.ReadAll(&generated{resources: resources})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	b.ResetTimer()
	return doc
}

// BenchmarkRead reads 10,000 resources; compare with BenchmarkScan, which only checks that the same bytes are JSON.
func BenchmarkRead(b *testing.B) {
	doc := generate(b, 10_000)
	for b.Loop() {
		if _, err := Read(bytes.NewReader(doc), Options{Key: testKey}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadTellingSecrets(b *testing.B) {
	doc := generate(b, 10_000)
	for b.Loop() {
		if _, err := Read(bytes.NewReader(doc), Options{Key: testKey, Secrets: func(string) {}}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkScan(b *testing.B) {
	doc := generate(b, 10_000)
	for b.Loop() {
		if err := jsontext.NewDecoder(onlyReader{bytes.NewReader(doc)}).SkipValue(); err != nil {
			b.Fatal(err)
		}
	}
}

// onlyReader keeps a decoder from noticing that it could parse a buffer in place.
type onlyReader struct{ io.Reader }
