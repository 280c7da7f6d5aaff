package git

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"golang.org/x/crypto/ssh"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Keys is whose signatures count. The zero Keys is nobody's.
type Keys struct {
	ssh map[string][]sshKey // by the key's wire form
	pgp []pgpKey
}

// sshKey is a listed SSH key, with the time in which it counts.
type sshKey struct {
	name          string
	after, before time.Time // zero: no limit
}

// pgpKey is a listed OpenPGP key or one of its subkeys. Those that may not sign are kept too, so that people read why
// such a signature does not count instead of that the key is not listed.
type pgpKey struct {
	name    string
	public  *packet.PublicKey
	primary *packet.PublicKey
	self    *packet.Signature // what primary says of itself
	binding *packet.Signature // what primary says of public; self for the primary key
	revoked bool
	unfit   string // why it never counts, or ""
}

// ParseKeys reads the keys whose signatures count: name of a source to its text. A text holds armoured OpenPGP public
// keys and lines with SSH public keys, any mix of both. A line is as in authorized_keys ("[options] type key comment")
// or in allowed_signers ("principals [options] type key comment", see ssh-keygen(1)). Of the options, valid-after,
// valid-before, expiry-time and namespaces have their meaning; lines for other namespaces than git are passed over. Times
// are UTC, with or without a Z, so that they mean the same on every machine. Any other option is a mistake, for it may
// be a limit that is not kept here; so are certificates and cert-authority: whom an authority will certify is not known
// when the list is read. Principals name the key for people, as comments do; they are compared with nothing.
//
// What a forge commits by itself (a merge on its page) it signs with a key of its own: where such commits are to count,
// list that key too. GitHub publishes its at https://github.com/web-flow.gpg.
//
// An OpenPGP key that is revoked counts for nothing; an SSH key is revoked by taking its line away.
//
// Every mistake is reported with the name of its source and its line, as plumbline.ErrInvalid. A source without a key
// is one.
func ParseKeys(texts map[string]string) (Keys, error) {
	p := keyParser{keys: Keys{ssh: map[string][]sshKey{}}}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		p.source(name, texts[name])
	}
	if len(p.mistakes) > 0 {
		return Keys{}, errors.Join(p.mistakes...)
	}
	return p.keys, nil
}

type keyParser struct {
	keys     Keys
	name     string
	mistakes []error
}

func (p *keyParser) mistake(line int, format string, args ...any) {
	p.mistakes = append(p.mistakes, fmt.Errorf("%s:%d: %s: %w", p.name, line, fmt.Sprintf(format, args...), plumbline.ErrInvalid))
}

const (
	beginPGP = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
	endPGP   = "-----END PGP PUBLIC KEY BLOCK-----"
)

func (p *keyParser) source(name, text string) {
	p.name = name
	before, mistakes := p.count(), len(p.mistakes)
	lines := strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSpace(lines[i])
		switch {
		case line == "" || line[0] == '#':
		case strings.HasPrefix(line, "-----BEGIN "):
			from := i
			for i < len(lines) && !strings.HasPrefix(strings.TrimSpace(lines[i]), "-----END ") {
				i++
			}
			switch {
			case strings.Contains(line, "PRIVATE"):
				p.mistake(from+1, "this is a private key; list its public half, and make a new key if others can read this file")
			case line != beginPGP:
				p.mistake(from+1, "%.60q is not read; list OpenPGP and SSH public keys", line)
			case i == len(lines) || strings.TrimSpace(lines[i]) != endPGP:
				p.mistake(from+1, "this block does not end in %q", endPGP)
			default:
				p.block(from+1, strings.Join(lines[from:i+1], "\n")+"\n")
			}
		default:
			if why := p.line(line); why != "" {
				p.mistake(i+1, "%s", why)
			}
		}
	}
	if p.count() == before && len(p.mistakes) == mistakes {
		p.mistake(1, "it lists no key that counts for commits")
	}
}

func (p *keyParser) count() int {
	n := len(p.keys.pgp)
	for _, same := range p.keys.ssh {
		n += len(same)
	}
	return n
}

// block reads the OpenPGP keys of one armoured block.
func (p *keyParser) block(line int, text string) {
	block, err := armor.Decode(strings.NewReader(text))
	if err != nil {
		p.mistake(line, "this block cannot be read: %v", err)
		return
	}
	body, err := io.ReadAll(block.Body)
	if err != nil {
		p.mistake(line, "this block cannot be read: %v", err)
		return
	}
	if hidden(body) {
		p.mistake(line, "this block has a signature that cannot be read, which may be a revocation; export it again with gpg --armor --export-options export-minimal --export")
		return
	}
	packets := packet.NewReader(bytes.NewReader(body))
	for n := 0; ; n++ {
		e, err := openpgp.ReadEntity(packets)
		switch {
		case errors.Is(err, io.EOF) && n > 0:
			return
		case err != nil:
			p.mistake(line, "key %d of this block cannot be read: %v", n+1, err)
			return
		}
		if why := p.entity(e); why != "" {
			p.mistake(line, "key %d of this block, OpenPGP key %X, never counts: %s", n+1, e.PrimaryKey.Fingerprint, why)
		}
	}
}

// hidden reports whether a revocation may be among the packets that the library passes over in silence because of their
// version or algorithms: the key would look as if nobody had revoked it.
func hidden(body []byte) bool {
	packets := packet.NewReader(bytes.NewReader(body))
	for {
		p, err := packets.NextWithUnsupported()
		if err != nil { // the end, or what is reported when the keys are read
			return false
		}
		u, ok := p.(*packet.UnsupportedPacket)
		if !ok {
			continue
		}
		if sig, ok := u.IncompletePacket.(*packet.Signature); ok {
			switch sig.SigType {
			case packet.SigTypeGenericCert, packet.SigTypePersonaCert, packet.SigTypeCasualCert, packet.SigTypePositiveCert:
				if sig.Version != 0 { // read far enough to have a type
					continue
				}
			}
			return true
		}
	}
}

// entity adds a key with its subkeys, or says why none of them can ever count. Revoked and expired ones are added:
// what they signed is then told apart from what strangers signed.
func (p *keyParser) entity(e *openpgp.Entity) (why string) {
	if e.PrivateKey != nil {
		return "it is a private key; list its public half, and make a new key if others can read this file"
	}
	self, identity := e.PrimarySelfSignature()
	if self == nil {
		return "it has no signature of its own"
	}
	primary := pgpKey{public: e.PrimaryKey, primary: e.PrimaryKey, self: self, binding: self, revoked: len(e.Revocations) > 0}
	if identity != nil {
		primary.name = visible(identity.Name)
		primary.revoked = primary.revoked || len(identity.Revocations) > 0 // of a name that is not revoked, if it has one
	}
	primary.unfit = unfit(e.PrimaryKey, self)
	weak := primary.unfit != ""
	if primary.unfit == "" && (!self.FlagsValid || !self.FlagSign) {
		primary.unfit = "it is not marked as one that signs"
	}
	why = primary.unfit
	all := []pgpKey{primary}
	for _, sub := range e.Subkeys {
		k := primary
		k.public, k.binding, k.unfit = sub.PublicKey, sub.Sig, ""
		k.revoked = primary.revoked || len(sub.Revocations) > 0
		switch {
		case weak: // whoever can forge the primary key's signatures can make subkeys
			k.unfit = "its primary key is too weak: " + primary.unfit
		case !sub.Sig.FlagsValid || !sub.Sig.FlagSign:
			k.unfit = "it is not marked as one that signs"
		case sub.Sig.EmbeddedSignature == nil: // the library has verified it where it is there
			k.unfit = "it does not confirm that it belongs to its primary key"
		default:
			k.unfit = unfit(sub.PublicKey, sub.Sig)
			if k.unfit != "" {
				why = k.unfit
			}
		}
		all = append(all, k)
	}
	if !slices.ContainsFunc(all, func(k pgpKey) bool { return k.unfit == "" }) {
		return why
	}
	p.keys.pgp = append(p.keys.pgp, all...)
	return ""
}

const minRSA = 2048 // bits, as NIST SP 800-57 and OpenSSH's and GnuPG's own defaults have it at least

// unfit says why a key is too weak to count, or "".
func unfit(pk *packet.PublicKey, binding *packet.Signature) string {
	if !strongHash(binding.Hash) {
		return fmt.Sprintf("its own signature uses %v; renew it with gpg --quick-set-expire, and export it again", binding.Hash)
	}
	switch pk.PubKeyAlgo {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly:
		if n, err := pk.BitLength(); err != nil || n < minRSA {
			return fmt.Sprintf("it is an RSA key of %d bits; use %d or more", n, minRSA)
		}
	case packet.PubKeyAlgoECDSA, packet.PubKeyAlgoEdDSA, packet.PubKeyAlgoEd25519, packet.PubKeyAlgoEd448:
	case packet.PubKeyAlgoDSA:
		return "it is a DSA key; use RSA, ECDSA or EdDSA"
	default:
		return fmt.Sprintf("it is of algorithm %d, which is not read; use RSA, ECDSA or EdDSA", pk.PubKeyAlgo)
	}
	return ""
}

func strongHash(h crypto.Hash) bool {
	switch h {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA3_256, crypto.SHA3_512:
		return true
	}
	return false
}

var sshTypes = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSA,
	ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256, dsaType,
}

const (
	dsaType = "ssh-dss" // read so as to say why it does not count
	sshCert = "-cert-v01@openssh.com"
)

// line reads a line with an SSH key.
func (p *keyParser) line(line string) (why string) {
	var before []string // principals, options
	var kind string
	rest := line
	for kind == "" {
		word, after, ok := cutWord(rest)
		switch {
		case !ok:
			return "a quote is not closed"
		case slices.Contains(sshTypes, word) || strings.HasSuffix(word, sshCert):
			kind = word
		case word == "" || len(before) == 3:
			return fmt.Sprintf("this is no SSH public key, which is written as in %q, nor the beginning of an OpenPGP block", "ssh-ed25519 AAAA… alice@example.com")
		default:
			before = append(before, word)
		}
		rest = after
	}
	name := ""
	if len(before) > 0 && !isOptions(before[0]) {
		name, before = strings.Trim(before[0], `"`), before[1:]
	}
	if len(before) > 1 {
		return fmt.Sprintf("%.60q stands before the key's type, where principals and then options are read", before[1])
	}
	k := sshKey{}
	git := true
	if len(before) == 1 {
		if git, why = k.options(before[0]); why != "" {
			return why
		}
	}
	encoded, comment, _ := cutWord(rest)
	if name == "" {
		name = strings.TrimSpace(comment)
	}
	k.name = visible(name)
	wire, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return fmt.Sprintf("the key after %s is not base64: %v", kind, err)
	}
	public, err := ssh.ParsePublicKey(wire)
	if err != nil {
		return fmt.Sprintf("the key after %s cannot be read: %v", kind, err)
	}
	if _, ok := public.(*ssh.Certificate); ok || strings.HasSuffix(kind, sshCert) {
		return "this is a certificate, which does not count; list the key itself"
	}
	if public.Type() != kind {
		return fmt.Sprintf("the key after %s is of type %s", kind, public.Type())
	}
	if why := unfitSSH(public); why != "" {
		return why
	}
	if git {
		id := string(public.Marshal())
		p.keys.ssh[id] = append(p.keys.ssh[id], k)
	}
	return ""
}

func unfitSSH(public ssh.PublicKey) string {
	switch public.Type() {
	case dsaType:
		return "this is a DSA key; use ssh-ed25519, or RSA of 2048 bits or more"
	case ssh.KeyAlgoRSA:
		if n := rsaBits(public.Marshal()); n < minRSA {
			return fmt.Sprintf("this is an RSA key of %d bits; use %d or more", n, minRSA)
		}
	}
	return ""
}

// rsaBits is the length of the modulus of an RSA key in wire form (RFC 4253, section 6.6).
func rsaBits(wire []byte) int {
	var k struct {
		Type string
		E    []byte
		N    []byte
	}
	if err := ssh.Unmarshal(wire, &k); err != nil {
		return 0
	}
	n := bytes.TrimLeft(k.N, "\x00")
	if len(n) == 0 {
		return 0
	}
	return 8*(len(n)-1) + bits.Len8(n[0])
}

// options reads the options of a line, and reports whether the key may sign what is Git's.
func (k *sshKey) options(text string) (git bool, why string) {
	git = true
	for _, o := range splitOptions(text) {
		name, value, _ := strings.Cut(o, "=")
		value = strings.Trim(value, `"`)
		var err error
		switch strings.ToLower(name) {
		case "cert-authority":
			return false, "cert-authority does not count: whom an authority will certify is not known here; list the keys themselves"
		case "namespaces":
			git = false
			for _, n := range strings.Split(value, ",") {
				switch {
				case n == "git" || n == "*":
					git = true
				case strings.ContainsAny(n, "*?!"):
					return false, fmt.Sprintf("namespaces has the pattern %.60q, which is not read; write git", n)
				}
			}
		case "valid-after":
			k.after, err = sshTime(value)
		case "valid-before", "expiry-time":
			k.before, err = sshTime(value)
		default:
			return false, fmt.Sprintf("the option %.60q is not kept for signatures; remove it if the key is to count", name)
		}
		if err != nil {
			return false, fmt.Sprintf("%s is %.60q, which is not a time such as 20260131 or 202601311530Z", strings.ToLower(name), value)
		}
	}
	if !k.before.IsZero() && !k.after.Before(k.before) {
		return false, "valid-after is not before valid-before, so that the key never counts"
	}
	return git, ""
}

// sshTime reads a time as OpenSSH writes it, as UTC.
func sshTime(s string) (time.Time, error) {
	s = strings.TrimSuffix(s, "Z")
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if len(s) == len(layout) {
			return time.Parse(layout, s)
		}
	}
	return time.Time{}, plumbline.ErrInvalid
}

// knownOptions are those that sshd(8) and ssh-keygen(1) write without a value: with them a line's first word is told
// from principals.
var knownOptions = []string{
	"cert-authority", "agent-forwarding", "no-agent-forwarding", "port-forwarding", "no-port-forwarding", "pty", "no-pty",
	"restrict", "user-rc", "no-user-rc", "x11-forwarding", "no-x11-forwarding", "no-touch-required", "verify-required",
}

func isOptions(word string) bool {
	return slices.ContainsFunc(splitOptions(word), func(o string) bool {
		return strings.Contains(o, "=") || slices.Contains(knownOptions, strings.ToLower(o))
	})
}

// splitOptions splits at commas that are not between quotes.
func splitOptions(s string) []string {
	quoted := false
	return strings.FieldsFunc(s, func(c rune) bool {
		if c == '"' {
			quoted = !quoted
		}
		return c == ',' && !quoted
	})
}

// cutWord takes off the first word, in which spaces may stand between quotes; not ok when a quote is not closed.
func cutWord(s string) (word, rest string, ok bool) {
	s = strings.TrimLeft(s, " \t")
	quoted := false
	for i, c := range s {
		switch {
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ' ' || c == '\t'):
			return s[:i], s[i:], true
		}
	}
	return s, "", !quoted
}
