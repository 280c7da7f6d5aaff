package discover

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The tree of both benchmarks: 10,000 directories of three files, about 157 MB; 8,000 stacks that call two modules each
// out of 2,000, some of which call one another. A commit usually finds them spread over directories by team.
const benchDirs = 10_000

func benchFiles(put func(name string, data []byte)) {
	resource := func(i, k int) string {
		return fmt.Sprintf(`
# a comment with "quotes" and { braces, as they come
resource "aws_instance" "web_%d_%d" {
  ami                  = "ami-0123456789abcdef0"
  instance_type        = var.instance_type
  iam_instance_profile = aws_iam_instance_profile.web.name
  user_data            = <<-EOT
    #!/bin/sh
    echo "hello ${var.name}" > /etc/motd
    if [ -f /etc/x ]; then { cat /etc/x; }; fi
  EOT

  tags = merge(local.tags, {
    Name = "web-${var.name}-%d"
    Team = "team-%d"
  })

  lifecycle {
    ignore_changes = [tags["last"], ami]
  }
}
`, i, k, k, i%100)
	}
	for i := range benchDirs {
		var dir, main string
		if i%5 == 0 {
			dir = fmt.Sprintf("modules/g%d/m%d", i%100, i)
			main = "variable \"name\" {}\n"
			if i%50 == 0 {
				main += fmt.Sprintf("module \"inner\" {\n  source = \"../../g%d/m%d\"\n}\n", (i+5)%100, (i+5)%benchDirs)
			}
		} else {
			dir = fmt.Sprintf("live/team%d/stack%d", i%100, i)
			main = fmt.Sprintf("terraform {\n  required_version = \">= 1.5\"\n  backend \"s3\" {\n    bucket = \"state\"\n    key    = \"%d.tfstate\"\n  }\n}\n\nprovider \"aws\" {\n  region = \"eu-west-1\"\n}\n", i)
			for k := range 2 {
				m := (i*7 + k*5) / 5 * 5 % benchDirs
				main += fmt.Sprintf("module \"m%d\" {\n  source = \"../../../modules/g%d/m%d\"\n  name   = \"x\"\n}\n", k, m%100, m)
			}
			if i%14 == 1 {
				main += "data \"local_file\" \"x\" {\n  filename = \"${path.module}/x.json\"\n}\nlocals {\n  x = file(\"${path.module}/x.json\")\n}\n"
			}
		}
		var body strings.Builder
		for k := 0; body.Len() < 7200; k++ {
			body.WriteString(resource(i, k))
		}
		put(dir+"/main.tf", []byte(main))
		put(dir+"/resources.tf", []byte(body.String()))
		put(dir+"/more.tf", []byte(body.String()))
	}
}

func benchTree() tree {
	type dir = map[string]any
	root := dir{}
	benchFiles(func(name string, data []byte) {
		at := root
		parts := strings.Split(name, "/")
		for _, p := range parts[:len(parts)-1] {
			if at[p] == nil {
				at[p] = dir{}
			}
			at = at[p].(dir)
		}
		at[parts[len(parts)-1]] = data
	})
	var build func(name string, d dir) *entry
	build = func(name string, d dir) *entry {
		e := dirEntry(name, nil)
		for k, v := range d {
			at, _ := e.find(k)
			var kid *entry
			if data, ok := v.([]byte); ok {
				kid = (&entry{}).set([]string{k}, 0o644, data).kids[0]
			} else {
				kid = build(k, v.(dir))
			}
			e.kids = append(e.kids[:at], append([]*entry{kid}, e.kids[at:]...)...)
		}
		return dirEntry(name, e.kids)
	}
	return tree{build(".", root), new(int)}
}

// BenchmarkCold10000 reads the tree from disk, with nothing known.
func BenchmarkCold10000(b *testing.B) {
	root := b.TempDir()
	size := 0
	benchFiles(func(name string, data []byte) {
		p := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(p, data, 0o644); err != nil {
			b.Fatal(err)
		}
		size += len(data)
	})
	b.SetBytes(int64(size))
	for b.Loop() {
		expect8000(b, os.DirFS(root), Options{})
	}
}

// BenchmarkOneCommit10000 sees the tree again after one file changed.
func BenchmarkOneCommit10000(b *testing.B) {
	t := benchTree()
	c := NewCache(0)
	expect8000(b, t, Options{Cache: c})
	for n := 0; b.Loop(); n++ {
		b.StopTimer()
		t = t.with("live/team1/stack1/more.tf", fmt.Appendf(nil, "locals {\n  n = %d\n}\n", n))
		*t.reads = 0
		b.StartTimer()
		expect8000(b, t, Options{Cache: c})
	}
	b.ReportMetric(float64(*t.reads), "reads/op")
}

func expect8000(b *testing.B, fsys fs.FS, o Options) {
	l, err := Stacks(context.Background(), fsys, o)
	if err != nil {
		b.Fatal(err)
	}
	if len(l.Stacks) != benchDirs*4/5 || len(l.Findings) != 0 {
		b.Fatalf("%d stacks, findings %v", len(l.Stacks), l.Findings[:min(3, len(l.Findings))])
	}
}

// BenchmarkFile compares what the skeleton saves on one file of resources.
func BenchmarkFile(b *testing.B) {
	var src []byte
	benchFiles(func(name string, data []byte) {
		if strings.HasSuffix(name, "stack1/resources.tf") {
			src = data
		}
	})
	for name, read := range map[string]func(*facts){
		"skeleton": func(f *facts) { f.read("x.tf", src) },
		"whole":    func(f *facts) { f.readWhole("x.tf", src) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				read(&facts{})
			}
		})
	}
}
