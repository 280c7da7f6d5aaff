package redact

import (
	"io"
	"os"
)

// pieceSize is how much of a large write is handled at a time, so that a large write needs no large buffer.
const pieceSize = 32 << 10

// Writer masks a stream. What it passes on does not depend on how the stream is cut into writes. It is not safe for concurrent use.
//
// It holds back only the end of the stream that is the beginning of some form of a secret, so less than the longest form; all else goes on at
// once, in one write to the underlying writer for each write of up to 32 KiB. With shapes it also holds back a line until it ends, or has 64 KiB,
// and a private key in PEM until the line that shows that it has ended.
type Writer struct {
	m      *Masker
	to     io.Writer
	state  int32
	buf    []byte // what is held back
	hits   []span // what is known to be secret in buf
	masked bool   // whether the mask was the last thing passed on
	out    []byte // reused for what is passed on
	err    error  // the first error, returned ever after

	// With shapes only:
	seen int       // there is no end of a line in buf[:seen]
	key  *keyLines // a private key whose beginning has been passed on
}

// Write passes p on, masked. It returns the underlying writer's error, from then on for every call.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n := 0
	for n < len(p) {
		piece := p[n:min(n+pieceSize, len(p))]
		w.state, w.hits = scan(w.m.built().automaton, piece, w.state, len(w.buf), w.hits)
		w.buf = append(w.buf, piece...)
		// A secret not yet complete begins with what the state stands for, never before. Some of that may have been
		// passed on already, as part of another secret.
		ready := max(0, len(w.buf)-int(w.m.built().nodes[w.state].depth))
		if w.m.shapes != nil {
			ready = w.lines(ready, false)
		}
		if err := w.settle(ready); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}

// Flush passes on what is held back, masked as if the stream ended here. A secret of which a part was held back is
// then cut in two: that part has been passed on in clear, and the rest will be masked when it comes. With shapes neither part may look like
// a secret; only the lines of a private key whose beginning has been passed on are still masked. So flush at the end of a message, not on a
// timer.
func (w *Writer) Flush() error {
	if w.err != nil {
		return w.err
	}
	if w.m.shapes != nil {
		w.lines(len(w.buf), true)
	}
	return w.settle(len(w.buf))
}

// Close flushes. It does not close the underlying writer. Later calls return os.ErrClosed, or the error of an
// earlier write.
func (w *Writer) Close() error {
	err := w.Flush()
	if w.err == nil {
		w.err = os.ErrClosed
	}
	return err
}

// settle passes on buf[:cut], and what follows it without a gap and is known to be secret. With shapes it goes no further than cut, since how
// much more is known there depends on how the stream was cut.
func (w *Writer) settle(cut int) error {
	if cut == 0 && w.m.shapes != nil {
		return nil
	}
	w.out = w.out[:0]
	done, used := 0, 0
	for i, h := range w.hits {
		if h.start > cut || h.start == cut && w.m.shapes != nil {
			break
		}
		w.plain(w.buf[done:h.start])
		if !w.masked {
			w.out = append(w.out, w.m.built().mask...)
			w.masked = true
		}
		done = h.end
		if done > cut && w.m.shapes != nil {
			done = cut
			w.hits[i].start = cut
			break
		}
		used++
	}
	if done < cut {
		w.plain(w.buf[done:cut])
		done = cut
	}
	w.hits = append(w.hits[:0], w.hits[used:]...)
	for i := range w.hits {
		w.hits[i].start -= done
		w.hits[i].end -= done
	}
	w.buf = append(w.buf[:0], w.buf[done:]...)
	if len(w.out) == 0 {
		return nil
	}
	n, err := w.to.Write(w.out)
	if err == nil && n < len(w.out) {
		err = io.ErrShortWrite
	}
	w.err = err
	return err
}

func (w *Writer) plain(text []byte) {
	if len(text) > 0 {
		w.out = append(w.out, text...)
		w.masked = false
	}
}
