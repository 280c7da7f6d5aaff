package artifact

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrTampered says that a blob's file is not what Put wrote under that name with that key: it was changed, cut short,
// moved from another name, or sealed with another key.
var ErrTampered = errors.New("the sealed file was changed, or was sealed with another key or under another name")

// The format; see the package comment.
const (
	magic      = "plumseal\x01"
	infoPrefix = "plumbline artifact 1 "
	saltSize   = 32
	chunkSize  = 64 << 10
	tagSize    = 16
	headerSize = len(magic) + saltSize
)

// newAEAD returns the cipher for one blob.
func newAEAD(master Key, salt []byte, name string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, master[:], salt, infoPrefix+name, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// nonce returns the nonce of the chunk with that number.
func nonce(number uint64, last bool) []byte {
	n := make([]byte, 12)
	binary.BigEndian.PutUint64(n[3:11], number)
	if last {
		n[11] = 1
	}
	return n
}

// seal writes what r gives to w, sealed, until r ends or ctx does, and returns the size of the plaintext.
func seal(ctx context.Context, w io.Writer, r io.Reader, master Key, salt []byte, name string) (size int64, err error) {
	aead, err := newAEAD(master, salt, name)
	if err != nil {
		return 0, err
	}
	if _, err := w.Write(append([]byte(magic), salt...)); err != nil {
		return 0, err
	}
	in := newPieces(r, chunkSize)
	sealed := make([]byte, 0, chunkSize+tagSize)
	for number := uint64(0); ; number++ {
		if err := ctx.Err(); err != nil {
			return size, err
		}
		piece, last, err := in.next()
		if err != nil {
			return size, err
		}
		sealed = aead.Seal(sealed[:0], nonce(number, last), piece, nil)
		if _, err := w.Write(sealed); err != nil {
			return size, err
		}
		size += int64(len(piece))
		if last {
			return size, nil
		}
	}
}

// opener reads a sealed blob: io.EOF comes only after the chunk that is sealed as the last one.
type opener struct {
	ctx    context.Context
	name   string
	from   io.Closer
	aead   cipher.AEAD
	in     *pieces
	number uint64
	plain  []byte // checked and not yet read
	err    error  // io.EOF after the last chunk; returned when plain is empty, and from then on
}

// open reads the header and the first chunk, so that a wrong key shows at once. The opener owns from if err is nil.
func open(ctx context.Context, from io.ReadCloser, master Key, name string) (*opener, error) {
	header := make([]byte, headerSize)
	switch _, err := io.ReadFull(from, header); {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return nil, fmt.Errorf("artifact %s: %w: it ends within its header", name, ErrTampered)
	case err != nil:
		return nil, fmt.Errorf("artifact %s: %w", name, err)
	case !bytes.HasPrefix(header, []byte(magic)):
		return nil, fmt.Errorf("artifact %s: %w: it does not begin as a sealed file of version 1 does", name, ErrTampered)
	}
	aead, err := newAEAD(master, header[len(magic):], name)
	if err != nil {
		return nil, fmt.Errorf("artifact %s: %w", name, err)
	}
	o := &opener{ctx: ctx, name: name, from: from, aead: aead, in: newPieces(from, chunkSize+tagSize)}
	if o.advance(); o.err != nil && o.err != io.EOF { //nolint:errorlint // an error that wraps io.EOF is a source that broke off, not the end
		return nil, o.err
	}
	return o, nil
}

func (o *opener) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(o.plain) == 0 && o.err == nil {
		o.advance()
	}
	if len(o.plain) == 0 {
		return 0, o.err
	}
	n := copy(p, o.plain)
	o.plain = o.plain[n:]
	return n, nil
}

func (o *opener) Close() error {
	o.plain, o.err = nil, fmt.Errorf("artifact %s: read after close", o.name)
	return o.from.Close()
}

// advance checks the next chunk and makes it o.plain, or sets o.err. It decrypts in place: cipher.AEAD leaves zeros
// where a chunk does not pass.
func (o *opener) advance() {
	if err := o.ctx.Err(); err != nil {
		o.err = fmt.Errorf("artifact %s: %w", o.name, err)
		return
	}
	sealed, last, err := o.in.next()
	if err != nil {
		o.err = fmt.Errorf("artifact %s: %w", o.name, err)
		return
	}
	plain, err := o.aead.Open(sealed[:0], nonce(o.number, last), sealed, nil)
	if err != nil || len(plain) == 0 && o.number > 0 {
		o.err = fmt.Errorf("artifact %s: %w: chunk %d is not genuine", o.name, ErrTampered, o.number)
		return
	}
	o.plain = plain
	o.number++
	if last {
		o.err = io.EOF
	}
}

// pieces cuts a reader into pieces of one size. It reads one byte further than the piece it returns, to know which is the
// last. io.ReadFull would not do: it reports a short end as io.ErrUnexpectedEOF, which a reader whose own source broke
// off returns too, and a plan cut short on its way must not be sealed as whole.
type pieces struct {
	r   io.Reader
	buf []byte // one byte longer than a piece
	n   int    // how much of buf is filled: the byte read ahead
}

func newPieces(r io.Reader, size int) *pieces { return &pieces{r: r, buf: make([]byte, size+1)} }

// next returns the next piece, valid until the call after. Only the last may be shorter, or empty: it is so if and only if the reader
// gave nothing at all. After the last piece next must not be called again.
func (p *pieces) next() (piece []byte, last bool, err error) {
	size := len(p.buf) - 1
	if p.n > size {
		p.buf[0], p.n = p.buf[size], 1
	}
	for idle := 0; p.n <= size; {
		n, err := p.r.Read(p.buf[p.n:])
		p.n += n
		switch {
		case err == io.EOF && p.n <= size:
			return p.buf[:p.n], true, nil
		case err != nil && err != io.EOF:
			return nil, false, err
		case n > 0:
			idle = 0
		default:
			if idle++; idle == 100 {
				return nil, false, io.ErrNoProgress
			}
		}
	}
	return p.buf[:size], false, nil
}
