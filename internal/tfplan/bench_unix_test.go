//go:build unix

package tfplan

import (
	"bytes"
	"encoding/json"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// BenchmarkReadPerScan reports the processor time of reading 10,000 resources in units of the time that it takes to check that
// the same bytes are JSON, with jsontext and with encoding/json. They are measured in turn, so that whatever else the machine
// does counts on all sides.
func BenchmarkReadPerScan(b *testing.B) {
	doc := generate(b, 10_000)
	var read, scan, std time.Duration
	for b.Loop() {
		read += processorTime(b, func() error {
			_, err := Read(bytes.NewReader(doc), Options{Key: testKey})
			return err
		})
		scan += processorTime(b, func() error { return jsontext.NewDecoder(onlyReader{bytes.NewReader(doc)}).SkipValue() })
		std += processorTime(b, func() error {
			if !json.Valid(doc) {
				return errors.New("not valid")
			}
			return nil
		})
	}
	b.ReportMetric(float64(read.Milliseconds())/float64(b.N), "read-ms/op")
	b.ReportMetric(float64(scan.Milliseconds())/float64(b.N), "scan-ms/op")
	b.ReportMetric(float64(std.Milliseconds())/float64(b.N), "std-ms/op")
	b.ReportMetric(float64(read)/float64(scan), "read/scan")
	b.ReportMetric(float64(read)/float64(std), "read/std")
}

func processorTime(b *testing.B, f func() error) time.Duration {
	b.Helper()
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	start := used()
	if err := f(); err != nil {
		b.Fatal(err)
	}
	return used() - start
}
