package artifact

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func testKey() (k Key) {
	for i := range k {
		k[i] = byte(i)
	}
	return k
}

// data returns n bytes that look random and are the same each time.
func data(n int) []byte {
	b := make([]byte, n)
	src := rand.NewChaCha8([32]byte{1})
	_, _ = src.Read(b) // never fails
	return b
}

func sealed(t testing.TB, name string, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	size, err := seal(t.Context(), &b, bytes.NewReader(plain), testKey(), bytes.Repeat([]byte{7}, saltSize), name)
	if err != nil || size != int64(len(plain)) {
		t.Fatalf("seal: size %d, %v", size, err)
	}
	return b.Bytes()
}

// opened returns what a reader of file gets before it ends.
func opened(key Key, name string, file []byte) ([]byte, error) {
	o, err := open(context.Background(), io.NopCloser(bytes.NewReader(file)), key, name)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(o)
}

var sizes = []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 2 * chunkSize, 1 << 20}

func TestSealRoundTrip(t *testing.T) {
	for _, size := range sizes {
		plain := data(size)
		got, err := opened(testKey(), "a/b", sealed(t, "a/b", plain))
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes: got %d, %v", size, len(got), err)
		}
	}
}

// A second implementation, written from the package comment alone.
func TestFormatIsAsDocumented(t *testing.T) {
	for _, size := range sizes {
		plain, file := data(size), sealed(t, "runs/12/tfplan", data(size))
		if got := string(file[:9]); got != "plumseal\x01" {
			t.Fatalf("magic and version: %q", got)
		}
		master := testKey()
		key, err := hkdf.Key(sha256.New, master[:], file[9:41], "plumbline artifact 1 runs/12/tfplan", 32)
		if err != nil {
			t.Fatal(err)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			t.Fatal(err)
		}
		gcm, err := cipher.NewGCM(block)
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for i, rest := 0, file[41:]; len(rest) > 0; i++ {
			n := min(65536+16, len(rest))
			nonce := []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(i), 0}
			if n == len(rest) {
				nonce[11] = 1
			}
			if got, err = gcm.Open(got, nonce, rest[:n], nil); err != nil {
				t.Fatalf("%d bytes, chunk %d: %v", size, i, err)
			}
			rest = rest[n:]
		}
		if !bytes.Equal(got, plain) {
			t.Errorf("%d bytes: another plaintext", size)
		}
	}
}

// What version 1 once wrote must be readable for ever.
func TestVersion1Golden(t *testing.T) {
	golden := filepath.Join("testdata", "v1.golden")
	const plain = "kept since version 1\n"
	file := sealed(t, "runs/1/log", []byte(plain))
	if *update {
		if err := os.WriteFile(golden, file, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(kept, file) {
		t.Error("the same blob is sealed in another way")
	}
	if got, err := opened(testKey(), "runs/1/log", kept); err != nil || string(got) != plain {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestEveryBitCounts(t *testing.T) {
	file := sealed(t, "a", []byte("attack at dawn"))
	for i := range file {
		for bit := range 8 {
			file[i] ^= 1 << bit
			got, err := opened(testKey(), "a", file)
			if !errors.Is(err, ErrTampered) || len(got) > 0 {
				t.Errorf("byte %d, bit %d: got %q, %v", i, bit, got, err)
			}
			file[i] ^= 1 << bit
		}
	}
}

func TestTampering(t *testing.T) {
	const whole = chunkSize + tagSize
	plain := data(3*chunkSize + 100)
	file := sealed(t, "a", plain)
	chunk := func(i int) []byte { return file[headerSize+i*whole : min(headerSize+(i+1)*whole, len(file))] }
	header := file[:headerSize]
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	flip := func(i int) []byte {
		b := bytes.Clone(file)
		b[i] ^= 0x10
		return b
	}
	type test struct {
		name    string
		file    []byte
		genuine int // how many chunks come before the error
	}
	tests := []test{
		{"chunks 0 and 1 exchanged", join(header, chunk(1), chunk(0), chunk(2), chunk(3)), 0},
		{"chunks 1 and 2 exchanged", join(header, chunk(0), chunk(2), chunk(1), chunk(3)), 1},
		{"chunk 0 missing", join(header, chunk(1), chunk(2), chunk(3)), 0},
		{"chunk 1 missing", join(header, chunk(0), chunk(2), chunk(3)), 1},
		{"chunk 1 twice", join(header, chunk(0), chunk(1), chunk(1), chunk(2), chunk(3)), 2},
		{"last chunk twice", join(file, chunk(3)), 3},
		{"last chunk moved up", join(header, chunk(0), chunk(3)), 1},
		{"a byte more", append(bytes.Clone(file), 0), 3},
		{"a chunk of zeros more", append(bytes.Clone(file), make([]byte, whole)...), 3},
		{"another blob's chunk", join(header, sealed(t, "b", plain)[headerSize:]), 0},
		{"empty", nil, 0},
	}
	for i := range 4 {
		at := headerSize + i*whole
		n := len(chunk(i))
		for _, pos := range []int{0, 1, n / 2, n - tagSize - 1, n - tagSize, n - 1} {
			tests = append(tests, test{fmt.Sprintf("byte %d of chunk %d", pos, i), flip(at + pos), i})
		}
		for _, cut := range []int{at - 1, at, at + 1, at + tagSize - 1, at + tagSize, at + tagSize + 1, at + n - 1} {
			tests = append(tests, test{fmt.Sprintf("cut at %d", cut), file[:cut], max(0, i-1)})
		}
	}
	for _, tt := range tests {
		got, err := opened(testKey(), "a", tt.file)
		if !errors.Is(err, ErrTampered) || !strings.Contains(err.Error(), "artifact a: ") {
			t.Errorf("%s: error %v", tt.name, err)
		}
		if !bytes.HasPrefix(plain, got) || len(got)%chunkSize != 0 {
			t.Errorf("%s: %d bytes came that are no genuine chunks", tt.name, len(got))
		}
		if len(got) < tt.genuine*chunkSize {
			t.Errorf("%s: %d bytes came, want at least %d chunks", tt.name, len(got), tt.genuine)
		}
		if len(got) == len(plain) {
			t.Errorf("%s: the whole plaintext came", tt.name)
		}
	}
}

func TestOtherKeyOrName(t *testing.T) {
	file := sealed(t, "a", []byte("attack at dawn"))
	key := testKey()
	key[31] ^= 1
	if got, err := opened(key, "a", file); !errors.Is(err, ErrTampered) || len(got) > 0 {
		t.Errorf("another key: %q, %v", got, err)
	}
	if got, err := opened(testKey(), "b", file); !errors.Is(err, ErrTampered) || len(got) > 0 {
		t.Errorf("another name: %q, %v", got, err)
	}
}

// There is one way to cut a plaintext into chunks, so that equal size means equal length of file.
func TestEmptyLastChunkIsRefused(t *testing.T) {
	salt := bytes.Repeat([]byte{7}, saltSize)
	aead, err := newAEAD(testKey(), salt, "a")
	if err != nil {
		t.Fatal(err)
	}
	file := append([]byte(magic), salt...)
	file = aead.Seal(file, nonce(0, false), data(chunkSize), nil)
	file = aead.Seal(file, nonce(1, true), nil, nil)
	if _, err := opened(testKey(), "a", file); !errors.Is(err, ErrTampered) {
		t.Errorf("error %v", err)
	}
}

// A disk that fails is not a forger.
func TestReadErrorsAreNotTampering(t *testing.T) {
	broken := errors.New("input/output error")
	file := sealed(t, "a", data(2*chunkSize))
	for _, good := range []int{0, 20, headerSize, headerSize + 10, headerSize + chunkSize + tagSize + 10} {
		r := io.MultiReader(bytes.NewReader(file[:good]), iotest.ErrReader(broken))
		o, err := open(t.Context(), io.NopCloser(r), testKey(), "a")
		if err == nil {
			_, err = io.ReadAll(o)
		}
		if !errors.Is(err, broken) || errors.Is(err, ErrTampered) {
			t.Errorf("after %d bytes: %v", good, err)
		}
	}
}

func TestReaderKeepsTheContract(t *testing.T) {
	plain := data(chunkSize + 1000)
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"plain": func(r io.Reader) io.Reader { return r }, "one byte at a time": iotest.OneByteReader,
		"EOF with the data": iotest.DataErrReader, "half": iotest.HalfReader,
	} {
		file := sealed(t, "a", plain)
		o, err := open(t.Context(), io.NopCloser(wrap(bytes.NewReader(file))), testKey(), "a")
		if err != nil {
			t.Fatal(name, err)
		}
		if err := iotest.TestReader(o, plain); err != nil {
			t.Error(name, err)
		}
		var again bytes.Buffer
		if _, err := seal(t.Context(), &again, wrap(bytes.NewReader(plain)), testKey(), bytes.Repeat([]byte{7}, saltSize), "a"); err != nil {
			t.Fatal(name, err)
		}
		if !bytes.Equal(again.Bytes(), file) {
			t.Errorf("%s: sealed in another way", name)
		}
	}
}

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

func TestAReaderThatGivesNothingEnds(t *testing.T) {
	if _, err := seal(t.Context(), io.Discard, idle{}, testKey(), make([]byte, saltSize), "a"); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("error %v", err)
	}
}

func BenchmarkSealOpen(b *testing.B) {
	plain := data(16 << 20)
	b.SetBytes(int64(len(plain)))
	for b.Loop() {
		file := sealed(b, "a", plain)
		if _, err := opened(testKey(), "a", file); err != nil {
			b.Fatal(err)
		}
	}
}
