// Package examples holds repositories that Plumbline can show itself with.
package examples

import (
	"embed"
	"io/fs"
)

//go:embed all:demo
var files embed.FS

// Demo is the repository that `plumbline demo` works on.
func Demo() fs.FS {
	sub, err := fs.Sub(files, "demo")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return sub
}
