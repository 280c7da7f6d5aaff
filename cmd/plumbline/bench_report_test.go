package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/testenv"
)

// jsonScan is the program that BenchmarkReport compares with: the least that one can do with a plan is to see that it is JSON.
func jsonScan() {
	doc, err := os.ReadFile(os.Args[1])
	if err == nil && !json.Valid(doc) {
		err = fmt.Errorf("%s is not JSON", os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// BenchmarkReport measures `plumbline report` on big plans as whole processes: time in units of what encoding/json needs to see that the same
// file is JSON, and the most memory that was resident. The two take turns.
func BenchmarkReport(b *testing.B) {
	plumbline, err := program()
	if err != nil {
		b.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	for _, resources := range []int{10_000, 100_000} {
		plan := filepath.Join(b.TempDir(), "plan.json")
		f, err := os.Create(plan)
		if err != nil {
			b.Fatal(err)
		}
		size, err := io.Copy(f, testenv.BigPlan(resources))
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			b.Fatal(err)
		}
		scan := filepath.Join(b.TempDir(), "jsonscan")
		if err := os.Symlink(self, scan); err != nil {
			b.Fatal(err)
		}
		for _, format := range [][]string{{"--markdown", "--limit", "65536"}, {"--json"}, {}, {"--html", filepath.Join(b.TempDir(), "plan.html")}} {
			name := "text"
			if len(format) > 0 {
				name = format[0][2:]
			}
			b.Run(fmt.Sprintf("resources=%d/%s", resources, name), func(b *testing.B) {
				var ours, theirs processes
				var out int64
				for b.Loop() {
					theirs.add(b, exec.CommandContext(b.Context(), scan, plan))
					cmd := exec.CommandContext(b.Context(), plumbline, append([]string{"report", plan}, format...)...)
					file, err := os.Create(filepath.Join(b.TempDir(), "out"))
					if err != nil {
						b.Fatal(err)
					}
					cmd.Stdout = file
					ours.add(b, cmd)
					if out, err = file.Seek(0, io.SeekEnd); err != nil {
						b.Fatal(err)
					}
					if err := file.Close(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(size)/1e6, "MB")
				b.ReportMetric(float64(out)/1e6, "out-MB")
				b.ReportMetric(ours.wall.Seconds()/float64(b.N), "s/op")
				b.ReportMetric(ours.cpu.Seconds()/float64(b.N), "cpu-s/op")
				b.ReportMetric(float64(ours.wall)/float64(theirs.wall), "wall/scan")
				b.ReportMetric(float64(ours.cpu)/float64(theirs.cpu), "cpu/scan")
				b.ReportMetric(float64(ours.most)/1e6, "MB-resident")
				b.ReportMetric(float64(theirs.most)/1e6, "scan-MB-resident")
			})
		}
		if err := os.Remove(plan); err != nil {
			b.Fatal(err)
		}
	}
}

// processes sums what programs used.
type processes struct {
	wall, cpu time.Duration
	most      int64 // bytes resident, of the largest
}

func (u *processes) add(b *testing.B, cmd *exec.Cmd) {
	b.Helper()
	cmd.Stderr = os.Stderr
	start := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	ended, most := make(chan struct{}), make(chan int64)
	go func() { most <- highWater(cmd.Process.Pid, ended) }()
	err := cmd.Wait()
	u.wall += time.Since(start)
	close(ended)
	u.most = max(u.most, <-most)
	if err != nil {
		b.Fatal(err)
	}
	u.cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// highWater is the most memory that a process had resident until it ended, in bytes. The kernel keeps the mark; it is read again and again since it goes
// with the process. What wait4 tells is another number: it begins with the memory of whoever started the process, which shares it until the exec.
func highWater(pid int, ended <-chan struct{}) (most int64) {
	for {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if _, mark, ok := strings.Cut(string(status), "VmHWM:"); err == nil && ok {
			var kib int64
			if _, err := fmt.Sscan(mark, &kib); err == nil {
				most = max(most, kib<<10)
			}
		}
		select {
		case <-ended:
			return most
		case <-time.After(4 * time.Millisecond):
		}
	}
}
