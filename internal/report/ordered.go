package report

import (
	"bytes"
	"io"
	"runtime"
	"sync"
)

// pieceChanges is how many changes are laid out at a time: they take some 100 kB of a page.
const pieceChanges = 64

// ordered has n changes laid out, several pieces of them at a time, and writes the pieces in order. lay lays out the changes from one index up to another; it
// is called from several goroutines. Of the pieces, two more than there are processors are in memory at most. The error is the first of w.
func ordered(w io.Writer, n int, lay func(out *bytes.Buffer, from, to int)) error {
	pieces := make(chan chan *bytes.Buffer, runtime.GOMAXPROCS(0))
	empty := sync.Pool{New: func() any { return new(bytes.Buffer) }}
	go func() {
		defer close(pieces)
		for from := 0; from < n; from += pieceChanges {
			piece := make(chan *bytes.Buffer, 1)
			pieces <- piece
			go func() {
				out := empty.Get().(*bytes.Buffer)
				lay(out, from, min(from+pieceChanges, n))
				piece <- out
			}()
		}
	}()
	var err error
	for piece := range pieces { // to the last, whatever happens: nobody is left behind
		out := <-piece
		if err == nil {
			_, err = w.Write(out.Bytes())
		}
		out.Reset()
		empty.Put(out)
	}
	return err
}
