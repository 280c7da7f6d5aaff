package tfplan

import (
	"bytes"
	"io"
	"runtime"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/plumbline/plumbline/internal/testenv"
)

// watched calls onRead before each read.
type watched struct {
	io.Reader
	onRead func()
}

func (w watched) Read(p []byte) (int, error) {
	w.onRead()
	return w.Reader.Read(p)
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
	in := watched{testenv.BigPlan(10_000), func() {
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
	doc, err := io.ReadAll(testenv.BigPlan(resources))
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
		o := Options{Key: testKey, Secrets: func(string) {}, SecretName: func(name string) bool { return name == "password" }}
		if _, err := Read(bytes.NewReader(doc), o); err != nil {
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
