package git

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Unsigned is a commit whose signature does not count.
type Unsigned struct {
	Commit string
	Author string // "Name <address>", as the commit claims it, made fit for showing
	Reason string // names the key, where there is one: "signed by SSH key SHA256:…, which is not listed"
}

func (u Unsigned) String() string {
	return fmt.Sprintf("%s by %s: %s", plumbline.Short(u.Commit), u.Author, u.Reason)
}

const (
	maxHistory   = 10_000   // commits that are looked at one by one, when the caller sets no other bound
	maxUnsigned  = 20       // that are told
	maxSignature = 64 << 10 // bytes; an RSA signature of 4096 bits has 1 KiB
)

// Verify checks every commit that can be reached from head and not from base, on all lines and merges included; with
// mergeOnly it checks head alone. It returns those that do not count as signed, newest first: none means that all do, and
// 20 that there may be more. With an empty base all of history is checked. More than 10,000 commits are
// plumbline.ErrInvalid: what was not looked at never passes.
//
// A signature counts when it is the only one of its commit, covers all the rest of it, was made with SHA-256 or better
// by a listed key that may sign and is neither revoked nor weak, and when that key counts at the time of now: neither
// expired nor still to come. The dates in commits and signatures are not asked, for they are written by whoever has
// the key: with a lost key that has expired, one could date commits back for ever. So what was signed before its key
// expired must reach the branch before as well, or be signed again, unless the key's owner prolongs it. For the same
// reason a revoked key counts for nothing, whatever was signed before it was revoked.
//
// Who may sign is asked, not whether the author is the one who signed: a listed key may sign what others wrote.
func (r *Repo) Verify(ctx context.Context, base, head string, keys Keys, mergeOnly bool, now time.Time) ([]Unsigned, error) {
	var commits []*object.Commit
	if mergeOnly {
		h, err := parseHash(head)
		if err != nil {
			return nil, err
		}
		c, err := r.objects.commit(h)
		if err != nil {
			return nil, r.missing(head, err)
		}
		commits = append(commits, c)
	} else {
		var err error
		if commits, err = r.within(ctx, base, head, maxHistory); err != nil {
			return nil, err
		}
	}
	var out []Unsigned
	for _, c := range commits {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		raw, err := r.objects.raw(c.Hash)
		if err != nil {
			return nil, r.missing(c.Hash.String(), err)
		}
		if why := keys.refuse(raw, now); why != "" {
			author := fmt.Sprintf("%s <%s>", visible(c.Author.Name), visible(c.Author.Email))
			out = append(out, Unsigned{Commit: c.Hash.String(), Author: author, Reason: why})
		}
		if len(out) == maxUnsigned {
			break
		}
	}
	return out, nil
}

// raw returns a commit byte by byte.
func (o *objects) raw(h plumbing.Hash) (b []byte, err error) {
	err = o.do(func(st *filesystem.Storage) error {
		obj, err := st.EncodedObject(plumbing.CommitObject, h)
		if err != nil {
			return err
		}
		b, err = appendObject(nil, obj)
		return err
	})
	return b, err
}

// refuse says why a commit does not count as signed, or "".
func (k Keys) refuse(commit []byte, now time.Time) (why string) {
	payload, signature, why := splitCommit(commit)
	switch {
	case why != "":
		return why
	case len(signature) > maxSignature:
		return fmt.Sprintf("its signature has %d bytes, more than any has", len(signature))
	case strings.HasPrefix(signature, "-----BEGIN SSH SIGNATURE-----\n"):
		return k.refuseSSH(payload, signature, now)
	case strings.HasPrefix(signature, "-----BEGIN PGP SIGNATURE-----\n"):
		return k.refusePGP(payload, signature, now)
	case strings.HasPrefix(signature, "-----BEGIN SIGNED MESSAGE-----\n"):
		return "signed with an X.509 certificate, which does not count; sign with an OpenPGP or SSH key"
	}
	return "its signature is of an unknown kind; sign with an OpenPGP or SSH key"
}

// splitCommit takes the signature out of a commit, as git's parse_signed_commit does. Git hashes the signature but does
// not sign it, so that whatever stands there may have been put there by anybody: one header is taken, in which git and
// go-git see the same, and anything else refused. The rest must name the tree and parents that are used for the commit.
func splitCommit(commit []byte) (payload []byte, signature, why string) {
	head, _, _ := bytes.Cut(commit, []byte("\n\n"))
	rest := commit[len(head):]
	var sig bytes.Buffer
	found, in := 0, false
	for line := range bytes.Lines(append(slices.Clip(head), '\n')) {
		value, ok := bytes.CutPrefix(line, []byte("gpgsig "))
		switch {
		case ok:
			found++
			in = true
			sig.Write(value)
		case bytes.HasPrefix(line, []byte("gpgsig")):
			return nil, "", fmt.Sprintf("it has the header %.40q, which only repositories with SHA-256 have", bytes.TrimSpace(line))
		case in && line[0] == ' ':
			sig.Write(line[1:])
		default:
			in = false
			payload = append(payload, line...)
		}
	}
	switch {
	case found == 0:
		return nil, "", "not signed"
	case found > 1:
		return nil, "", "it has more than one signature"
	}
	payload = append(bytes.TrimSuffix(payload, []byte("\n")), rest...)
	used, err := decode(commit)
	if err != nil {
		return nil, "", fmt.Sprintf("it is malformed: %s", visible(err.Error()))
	}
	signed, err := decode(payload)
	if err != nil || used.TreeHash != signed.TreeHash || !slices.Equal(used.ParentHashes, signed.ParentHashes) {
		return nil, "", "its signature covers another tree or other parents"
	}
	return payload, sig.String(), ""
}

func decode(commit []byte) (*object.Commit, error) {
	obj := &plumbing.MemoryObject{}
	obj.SetType(plumbing.CommitObject)
	if _, err := obj.Write(commit); err != nil {
		return nil, err
	}
	c := &object.Commit{}
	return c, c.Decode(obj)
}

const notOfThis = "the signature by %s is not one of this commit"

func (k Keys) refuseSSH(payload []byte, signature string, now time.Time) (why string) {
	block, rest := pem.Decode([]byte(signature))
	if block == nil || block.Type != sshsig.PEMType || len(block.Headers) > 0 || len(bytes.TrimSpace(rest)) > 0 {
		return "its SSH signature cannot be read"
	}
	sig, err := sshsig.ParseSignature(block.Bytes)
	if err != nil {
		return "its SSH signature cannot be read: " + visible(err.Error())
	}
	if _, ok := sig.PublicKey.(*ssh.Certificate); ok {
		return "signed with an SSH certificate, which does not count; sign with the key itself"
	}
	who := "SSH key " + ssh.FingerprintSHA256(sig.PublicKey)
	listed := k.ssh[string(sig.PublicKey.Marshal())]
	if len(listed) == 0 {
		return "signed by " + who + ", which is not listed"
	}
	if sig.Namespace != "git" {
		return fmt.Sprintf("signed by %s for %.40q, not for git", who, sig.Namespace)
	}
	if err := sshsig.Verify(bytes.NewReader(payload), sig, sig.PublicKey, sig.HashAlgorithm, "git"); err != nil {
		return fmt.Sprintf(notOfThis, who)
	}
	for _, l := range listed {
		named := who
		if l.name != "" {
			named += " of " + l.name
		}
		switch {
		case !l.after.IsZero() && now.Before(l.after):
			why = fmt.Sprintf("signed by %s, which is listed from %s on", named, day(l.after))
		case !l.before.IsZero() && !now.Before(l.before):
			why = fmt.Sprintf("signed by %s, which was listed until %s", named, day(l.before))
		default:
			return ""
		}
	}
	return why
}

func (k Keys) refusePGP(payload []byte, signature string, now time.Time) (why string) {
	sig, why := readPGP(signature)
	if why != "" {
		return why
	}
	switch {
	case sig.Version != 4 && sig.Version != 6: // version 5 was never a standard
		return fmt.Sprintf("its OpenPGP signature is of version %d, which does not count", sig.Version)
	case sig.SigType != packet.SigTypeBinary: // a text signature lets ends of lines change, others sign keys
		return fmt.Sprintf("its OpenPGP signature is of type %#x, which is not one of a document", int(sig.SigType))
	case !strongHash(sig.Hash):
		return fmt.Sprintf("its OpenPGP signature uses %v, which is too weak; sign with SHA-256 or better", sig.Hash)
	}
	why = "signed by " + issuer(sig) + ", which is not listed"
	for _, key := range k.pgp {
		if !sig.CheckKeyIdOrFingerprint(key.public) {
			continue
		}
		if why = key.refuse(payload, sig, now); why == "" {
			return ""
		}
	}
	return why
}

// readPGP reads a detached signature of which nothing but itself is there.
func readPGP(signature string) (sig *packet.Signature, why string) {
	const unreadable = "its OpenPGP signature cannot be read"
	text := strings.TrimRight(signature, "\n")
	if strings.Count(text, "-----BEGIN") > 1 || !strings.HasSuffix(text, "\n-----END PGP SIGNATURE-----") {
		return nil, unreadable
	}
	block, err := armor.Decode(strings.NewReader(text + "\n"))
	if err != nil {
		return nil, unreadable
	}
	body, err := io.ReadAll(block.Body)
	if err != nil {
		return nil, unreadable
	}
	in := bytes.NewReader(body)
	p, err := packet.Read(in)
	if err != nil {
		return nil, unreadable + ": " + visible(err.Error())
	}
	sig, ok := p.(*packet.Signature)
	switch {
	case !ok:
		return nil, unreadable
	case in.Len() > 0:
		return nil, "it has more than one signature"
	case sig.IssuerKeyId == nil && len(sig.IssuerFingerprint) == 0:
		return nil, "its OpenPGP signature does not name its key"
	}
	return sig, ""
}

func issuer(sig *packet.Signature) string {
	if len(sig.IssuerFingerprint) >= 20 {
		return fmt.Sprintf("OpenPGP key %X", sig.IssuerFingerprint)
	}
	return fmt.Sprintf("OpenPGP key %016X", *sig.IssuerKeyId)
}

// refuse says why a signature that names this key does not count, or "".
func (k pgpKey) refuse(payload []byte, sig *packet.Signature, now time.Time) (why string) {
	who := fmt.Sprintf("OpenPGP key %X", k.public.Fingerprint)
	if k.name != "" {
		who += " of " + k.name
	}
	if k.unfit != "" {
		return fmt.Sprintf("signed by %s, which does not count: %s", who, k.unfit)
	}
	h, err := sig.PrepareVerify()
	if err != nil {
		return fmt.Sprintf(notOfThis, who)
	}
	h.Write(payload) // a hash takes everything
	if err := k.public.VerifySignature(h, sig); err != nil {
		return fmt.Sprintf(notOfThis, who)
	}
	if k.revoked {
		return fmt.Sprintf("signed by %s, which is revoked", who)
	}
	for _, n := range sig.Notations {
		if n.IsCritical {
			return fmt.Sprintf("signed by %s with the condition %.60q, which is not known here", who, n.Name)
		}
	}
	for _, l := range []life{
		{k.primary.CreationTime, k.self.KeyLifetimeSecs, "which"},
		{k.self.CreationTime, k.self.SigLifetimeSecs, "whose own signature"},
		{k.public.CreationTime, k.binding.KeyLifetimeSecs, "which"},
		{k.binding.CreationTime, k.binding.SigLifetimeSecs, "whose own signature"},
		{sig.CreationTime, sig.SigLifetimeSecs, "whose signature of this commit"},
	} {
		if end, ok := l.end(); ok && !now.Before(end) {
			return fmt.Sprintf("signed by %s, %s expired on %s", who, l.what, day(end))
		}
	}
	for _, from := range []time.Time{k.primary.CreationTime, k.public.CreationTime} {
		if now.Add(skew).Before(from) {
			return fmt.Sprintf("signed by %s, which is of %s and not valid yet", who, day(from))
		}
	}
	return ""
}

// skew is how far the clock of whoever made a key may be ahead of this machine's.
const skew = 5 * time.Minute

// life is how long a key or signature counts; without seconds, or with none, it is for ever.
type life struct {
	from    time.Time
	seconds *uint32
	what    string
}

func (l life) end() (time.Time, bool) {
	if l.seconds == nil || *l.seconds == 0 {
		return time.Time{}, false
	}
	return l.from.Add(time.Duration(*l.seconds) * time.Second), true
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// visible makes what others wrote fit for one line of a terminal or page.
func visible(s string) string {
	const most = 120
	s = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || unicode.Is(unicode.Cf, c) {
			return unicode.ReplacementChar
		}
		return c
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return s
}

// within is between with a bound, beyond which it is plumbline.ErrInvalid.
func (r *Repo) within(ctx context.Context, base, head string, max int) ([]*object.Commit, error) {
	commits, all, err := r.between(ctx, base, head, max+1)
	if err == nil && (!all || len(commits) > max) {
		since := "its beginning"
		if base != "" {
			since = plumbline.Short(base)
		}
		err = &plumbline.Refusal{Kind: plumbline.ErrInvalid, Next: "Compare with a newer commit.",
			What: fmt.Sprintf("From %s to %s repository %s has more than %d commits, too many to look at each.", since, plumbline.Short(head), r.name, max)}
	}
	if err != nil {
		return nil, err
	}
	return commits, nil
}
