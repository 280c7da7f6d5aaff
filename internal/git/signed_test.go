package git

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// sshKeygen makes a key with the real program and returns the path of its private half, beside which is PATH.pub.
func sshKeygen(t testing.TB, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	out, err := exec.CommandContext(t.Context(), "ssh-keygen", append([]string{"-q", "-N", "", "-C", "alice@example.com", "-f", path}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	return path
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func fingerprint(t testing.TB, public string) string {
	t.Helper()
	k, _, _, _, err := ssh.ParseAuthorizedKey([]byte(public))
	if err != nil {
		t.Fatal(err)
	}
	return ssh.FingerprintSHA256(k)
}

func keysOf(t testing.TB, texts ...string) Keys {
	t.Helper()
	all := map[string]string{}
	for i, text := range texts {
		all[fmt.Sprint("keys", i)] = text
	}
	k, err := ParseKeys(all)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// signWith makes git sign: by the SSH key at that path, or by none.
func signWith(t testing.TB, dir, key string, args ...string) string {
	t.Helper()
	set := []string{"-c", "user.name=A Uthor", "-c", "user.email=author@example.com"}
	if key != "" {
		set = append(set, "-c", "gpg.format=ssh", "-c", "user.signingkey="+key, "-c", "commit.gpgsign=true")
	}
	return testenv.Git(t, dir, append(set, args...)...)
}

// signed puts a commit that git signs on top of others.
func signed(t testing.TB, dir, key, message string, parents ...string) string {
	t.Helper()
	args := []string{"commit-tree", "-m", message}
	if key != "" {
		args = append(args, "-S")
	}
	for _, p := range parents {
		args = append(args, "-p", p)
	}
	when := fmt.Sprint(1_750_000_000+60*clock.Add(1), " +0000")
	t.Setenv("GIT_AUTHOR_DATE", when)
	t.Setenv("GIT_COMMITTER_DATE", when)
	return signWith(t, dir, key, append(args, tree(t, dir))...)
}

func tree(t testing.TB, dir string) string {
	t.Helper()
	return testenv.Git(t, dir, "rev-parse", commit(t, dir, "tree", nil, file("main.tf", "# 1\n"))+"^{tree}")
}

// store writes a commit as it is, right or wrong, and gives it a branch.
func store(t testing.TB, dir, branch string, raw []byte) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "-C", dir, "hash-object", "-t", "commit", "-w", "--stdin", "--literally")
	cmd.Stdin = bytes.NewReader(raw)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("hash-object: %v\n%s", err, out)
	}
	h := strings.TrimSpace(string(out))
	testenv.Git(t, dir, "update-ref", "refs/heads/"+branch, h)
	return h
}

func catCommit(t testing.TB, dir, h string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "-C", dir, "cat-file", "commit", h).Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func verify(t testing.TB, r *Repo, base, head string, keys Keys, mergeOnly bool) []Unsigned {
	t.Helper()
	got, err := r.Verify(t.Context(), base, head, keys, mergeOnly, noon)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestVerifyWhatGitSigned signs with git and ssh-keygen, in a work tree, a merge included.
func TestVerifyWhatGitSigned(t *testing.T) {
	dir := bare(t)
	alice, bob := sshKeygen(t, "-t", "ed25519"), sshKeygen(t, "-t", "ecdsa", "-b", "384")
	carol := sshKeygen(t, "-t", "rsa", "-b", "2048")
	base := commit(t, dir, "main", nil, file("main.tf", "# 1\n"))
	work := t.TempDir()
	testenv.Git(t, work, "clone", "--quiet", dir, ".")
	when := clock.Load()
	step := func(key string, args ...string) string {
		when++
		date := fmt.Sprint(1_750_000_000+60*when, " +0000")
		t.Setenv("GIT_AUTHOR_DATE", date)
		t.Setenv("GIT_COMMITTER_DATE", date)
		signWith(t, work, key, args...)
		return testenv.Git(t, work, "rev-parse", "HEAD")
	}
	one := step(alice, "commit", "--quiet", "--allow-empty", "-S", "-m", "One\n\nWith a body, ünd more.")
	testenv.Git(t, work, "switch", "--quiet", "-c", "side", base)
	two := step(bob, "commit", "--quiet", "--allow-empty", "-S", "-m", "Two")
	three := step("", "commit", "--quiet", "--allow-empty", "-m", "Three")
	testenv.Git(t, work, "switch", "--quiet", "main")
	merge := step(carol, "merge", "--quiet", "--no-ff", "-S", "-m", "Merge", "side")
	testenv.Git(t, work, "push", "--quiet", "origin", "main", "side")

	r := open(t, dir)
	pull(t, r)
	a, b, c := read(t, alice+".pub"), read(t, bob+".pub"), read(t, carol+".pub")
	all := keysOf(t, a, "bob@example.com,b namespaces=\"git\" "+b, "# the merger\n\n"+c)
	got := verify(t, r, base, merge, all, false)
	if len(got) != 1 || got[0] != (Unsigned{three, "A Uthor <author@example.com>", "not signed"}) {
		t.Errorf("got %v", got)
	}
	if s := got[0].String(); s != plumbline.Short(three)+" by A Uthor <author@example.com>: not signed" {
		t.Error(s)
	}
	// Newest first, each with its reason.
	got = verify(t, r, base, merge, keysOf(t, a), false)
	want := []Unsigned{
		{merge, "A Uthor <author@example.com>", "signed by SSH key " + fingerprint(t, c) + ", which is not listed"},
		{three, "A Uthor <author@example.com>", "not signed"},
		{two, "A Uthor <author@example.com>", "signed by SSH key " + fingerprint(t, b) + ", which is not listed"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	if got := verify(t, r, base, merge, keysOf(t, c), true); len(got) != 0 {
		t.Errorf("the merge alone: %v", got)
	}
	if got := verify(t, r, base, merge, keysOf(t, a), true); len(got) != 1 || got[0].Commit != merge {
		t.Errorf("the merge alone: %v", got)
	}
	if got := verify(t, r, merge, merge, Keys{}, false); len(got) != 0 {
		t.Errorf("nothing new: %v", got)
	}
	if got := verify(t, r, three, one, all, false); len(got) != 0 {
		t.Errorf("one line: %v", got)
	}
	if got := verify(t, r, "", merge, all, false); len(got) != 2 || got[1].Commit != base {
		t.Errorf("all of history: %v", got)
	}
	if got := verify(t, r, base, merge, Keys{}, false); len(got) != 4 {
		t.Errorf("without keys: %v", got)
	}
	gone := strings.Repeat("1", 40)
	for _, mergeOnly := range []bool{false, true} {
		_, err := r.Verify(t.Context(), base, gone, all, mergeOnly, noon)
		wantKind(t, err, plumbline.ErrNotFound, "1111111")
		_, err = r.Verify(t.Context(), base, "main", all, mergeOnly, noon)
		wantKind(t, err, plumbline.ErrInvalid)
	}
	_, err := r.Verify(t.Context(), gone, merge, all, false, noon)
	wantKind(t, err, plumbline.ErrNotFound, "1111111")
}

func TestVerifyTellsTwentyAtMost(t *testing.T) {
	dir := bare(t)
	at := signed(t, dir, "", "0")
	base := at
	for i := range maxUnsigned + 5 {
		at = signed(t, dir, "", fmt.Sprint(i), at)
	}
	testenv.Git(t, dir, "update-ref", "refs/heads/main", at)
	r := open(t, dir)
	pull(t, r)
	if got := verify(t, r, base, at, Keys{}, false); len(got) != 20 || got[0].Commit != at {
		t.Errorf("%d commits", len(got))
	}
	if _, err := r.within(t.Context(), base, at, maxUnsigned+5); err != nil {
		t.Error(err)
	}
	_, err := r.within(t.Context(), base, at, maxUnsigned+4)
	wantKind(t, err, plumbline.ErrInvalid, "has more than 24 commits", "From "+plumbline.Short(base))
	_, err = r.within(t.Context(), "", at, maxUnsigned+5)
	wantKind(t, err, plumbline.ErrInvalid, "From its beginning")
}

// withHeader puts a header with its continuation lines into a commit, after its committer.
func withHeader(commit []byte, name, value string) []byte {
	head, body, _ := bytes.Cut(commit, []byte("\n\n"))
	value = strings.ReplaceAll(strings.TrimRight(value, "\n"), "\n", "\n ")
	return slices.Concat(head, []byte("\n"+name+" "+value+"\n\n"), body)
}

func TestVerifyRefusesTampering(t *testing.T) {
	dir := bare(t)
	key, other := sshKeygen(t, "-t", "ed25519"), sshKeygen(t, "-t", "ed25519")
	base := commit(t, dir, "main", nil, file("main.tf", "# 1\n"))
	otherTree := testenv.Git(t, dir, "rev-parse", commit(t, dir, "elsewhere", nil, file("main.tf", "# evil\n"))+"^{tree}")
	good := catCommit(t, dir, signed(t, dir, key, "Good", base))
	second := catCommit(t, dir, signed(t, dir, key, "Second", base))
	payload, sig, why := splitCommit(good)
	_, secondSig, _ := splitCommit(second)
	_, otherSig, _ := splitCommit(catCommit(t, dir, signed(t, dir, other, "Other", base)))
	if why != "" {
		t.Fatal(why)
	}
	signer, err := ssh.ParsePrivateKey([]byte(read(t, key)))
	if err != nil {
		t.Fatal(err)
	}
	byHand := func(payload []byte, h sshsig.HashAlgorithm, namespace string) string {
		s, err := sshsig.Sign(bytes.NewReader(payload), signer, h, namespace)
		if err != nil {
			t.Fatal(err)
		}
		return string(sshsig.Armor(s))
	}
	replace := func(from []byte, old, new string) []byte {
		out := bytes.Replace(from, []byte(old), []byte(new), 1)
		if bytes.Equal(out, from) {
			t.Fatalf("%q is not there", old)
		}
		return out
	}
	lines := strings.SplitAfter(string(payload), "\n")
	fp := fingerprint(t, read(t, key+".pub"))
	notThis := "the signature by SSH key " + fp + " is not one of this commit"
	cases := []struct {
		name string
		raw  []byte
		want string
	}{
		{"as it was", good, ""},
		{"signed by hand", withHeader(payload, "gpgsig", byHand(payload, sshsig.HashSHA256, "git")), ""},
		{"body", replace(good, "Good", "Evil"), notThis},
		{"end of the body", append(slices.Clone(good), '\n'), notThis},
		{"author", replace(good, "A Uthor", "B Uthor"), notThis},
		{"date", replace(good, "+0000", "+0001"), notThis},
		{"tree", replace(good, "tree "+string(payload[5:45]), "tree "+otherTree), notThis},
		{"parent", replace(good, "parent "+base+"\n", ""), notThis},
		{"signature of another commit", withHeader(payload, "gpgsig", secondSig), notThis},
		{"signature over another tree", withHeader(payload, "gpgsig", byHand(replace(payload, string(payload[5:45]), otherTree), sshsig.HashSHA512, "git")), notThis},
		{"other key's signature", withHeader(payload, "gpgsig", otherSig), "signed by SSH key " + fingerprint(t, read(t, other+".pub")) + ", which is not listed"},
		{"two headers", withHeader(good, "gpgsig", secondSig), "it has more than one signature"},
		{"the same twice", withHeader(good, "gpgsig", sig), "it has more than one signature"},
		{"two in one header", withHeader(payload, "gpgsig", sig+secondSig), "its SSH signature cannot be read"},
		{"sha256 as well", withHeader(good, "gpgsig-sha256", sig), `it has the header "gpgsig-sha256 -----BEGIN SSH SIGNATURE--`},
		{"sha256 alone", withHeader(payload, "gpgsig-sha256", sig), `it has the header "gpgsig-sha256 -----BEGIN SSH SIGNATURE--`},
		{"no signature", payload, "not signed"},
		{"in the body", replace(payload, "\n\nGood", "\n\ngpgsig "+sig), "not signed"},
		{"empty", withHeader(payload, "gpgsig", ""), "its signature is of an unknown kind"},
		{"text first", withHeader(payload, "gpgsig", "x\n"+sig), "its signature is of an unknown kind"},
		{"text after", withHeader(payload, "gpgsig", sig+"x"), "its SSH signature cannot be read"},
		{"header in it", withHeader(payload, "gpgsig", replaceText(sig, "SIGNATURE-----\n", "SIGNATURE-----\nA: b\n\n")), "its SSH signature cannot be read"},
		{"torn", withHeader(payload, "gpgsig", "-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----"), "its SSH signature cannot be read: "},
		{"huge", withHeader(payload, "gpgsig", "-----BEGIN SSH SIGNATURE-----\n"+strings.Repeat("A", maxSignature)), "bytes, more than any has"},
		{"for files", withHeader(payload, "gpgsig", byHand(payload, sshsig.HashSHA512, "file")), "signed by SSH key " + fp + ` for "file", not for git`},
		{"X.509", withHeader(payload, "gpgsig", "-----BEGIN SIGNED MESSAGE-----\nMII=\n-----END SIGNED MESSAGE-----"), "signed with an X.509 certificate, which does not count; sign with an OpenPGP or SSH key"},
		{"PGP message", withHeader(payload, "gpgsig", "-----BEGIN PGP MESSAGE-----\n\n=\n-----END PGP MESSAGE-----"), "its signature is of an unknown kind"},
		{"signed for a mergetag", withHeader(good, "mergetag", "object "+base+"\ntype commit\n gpgsig "+sig), notThis},
		// What git leaves out of the signed part must not carry what is used.
		{"tree in the signature", []byte(lines[0] + strings.Join(lines[1:3], "") + "gpgsig " + strings.ReplaceAll(sig, "\n", "\ntree "+otherTree+"\n ") + "\n\nGood\n"), ""},
	}
	cases[len(cases)-1].want = "*" // refused, whatever for
	var refs []string
	for i, c := range cases {
		refs = append(refs, store(t, dir, fmt.Sprint("case", i), c.raw))
	}
	keys := keysOf(t, read(t, key+".pub"))
	r := open(t, dir)
	for i, c := range cases {
		if err := r.Fetch(t.Context(), map[string]string{fmt.Sprint("refs/heads/case", i): refs[i]}); err != nil {
			if c.want != "*" {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		got, err := r.Verify(t.Context(), "", refs[i], keys, true, noon)
		switch {
		case c.want == "*":
			if err == nil && len(got) == 0 {
				t.Errorf("%s: counts", c.name)
			}
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want == "" && len(got) > 0:
			t.Errorf("%s: %v", c.name, got)
		case c.want != "" && (len(got) != 1 || !strings.Contains(got[0].Reason, c.want)):
			t.Errorf("%s: %v; want %q", c.name, got, c.want)
		}
	}
}

func replaceText(s, old, new string) string { return strings.Replace(s, old, new, 1) }

// TestVerifySSHKeyTimes: a listed time is held against now, whenever the commit says that it was made (here June 2025).
func TestVerifySSHKeyTimes(t *testing.T) {
	dir := bare(t)
	key := sshKeygen(t, "-t", "ed25519")
	raw := catCommit(t, dir, signed(t, dir, key, "Good"))
	public := read(t, key+".pub")
	who := "signed by SSH key " + fingerprint(t, public) + " of a@example.com"
	for options, want := range map[string]string{
		`namespaces="git"`: "",
		`valid-after="20260601",valid-before="20260602"`: "",
		`valid-before="202606011200Z"`:                   who + ", which was listed until 2026-06-01",
		`valid-before="202606011201Z"`:                   "",
		`valid-before=20260101`:                          who + ", which was listed until 2026-01-01",
		`valid-after="20260601120001"`:                   who + ", which is listed from 2026-06-01 on",
		`valid-after="202606011200"`:                     "",
		`expiry-time="20250101"`:                         who + ", which was listed until 2025-01-01",
	} {
		keys := keysOf(t, "a@example.com "+options+" "+public)
		if got := keys.refuse(raw, noon); got != want {
			t.Errorf("%s: %q, want %q", options, got, want)
		}
	}
	// Of two lines one is enough.
	keys := keysOf(t, "a valid-before=\"20250101\" "+public+"a "+public+"a valid-after=\"20270101\" "+public)
	if got := keys.refuse(raw, noon); got != "" {
		t.Error(got)
	}
}

func pgpEntity(t testing.TB, name string, c *packet.Config) *openpgp.Entity {
	t.Helper()
	if c.Time == nil {
		c.Time = func() time.Time { return noon.AddDate(-1, 0, 0) }
	}
	e, err := openpgp.NewEntity(name, "", strings.ToLower(name)+"@example.com", c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func armoured(t testing.TB, kind string, write func(io.Writer) error) string {
	t.Helper()
	var b bytes.Buffer
	w, err := armor.Encode(&b, kind, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(write(w), w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String() + "\n"
}

func publicKey(t testing.TB, es ...*openpgp.Entity) string {
	t.Helper()
	return armoured(t, openpgp.PublicKeyType, func(w io.Writer) error {
		for _, e := range es {
			if err := e.Serialize(w); err != nil {
				return err
			}
		}
		return nil
	})
}

// unsalted lets the library sign with SHA-1, for which it has no salt.
var unsalted = &packet.Config{NonDeterministicSignaturesViaNotation: new(bool)}

// pgpSign signs a commit, with a signature that change may spoil before it is made.
func pgpSign(t testing.TB, payload []byte, key *packet.PrivateKey, change func(*packet.Signature)) []byte {
	t.Helper()
	sig := &packet.Signature{
		Version: key.Version, SigType: packet.SigTypeBinary, PubKeyAlgo: key.PubKeyAlgo, Hash: crypto.SHA256,
		CreationTime: noon.AddDate(0, -1, 0), IssuerKeyId: &key.KeyId, IssuerFingerprint: key.Fingerprint, IssuerKeyVersion: byte(key.Version),
	}
	if change != nil {
		change(sig)
	}
	h, err := sig.PrepareSign(nil)
	if err != nil {
		t.Fatal(err)
	}
	if sig.SigType == packet.SigTypeText {
		payload = bytes.ReplaceAll(payload, []byte("\n"), []byte("\r\n"))
	}
	h.Write(payload)
	if err := sig.Sign(h, key, unsalted); err != nil {
		t.Fatal(err)
	}
	payload = bytes.ReplaceAll(payload, []byte("\r\n"), []byte("\n"))
	return withHeader(payload, "gpgsig", armoured(t, openpgp.SignatureType, sig.Serialize))
}

const plainCommit = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n" +
	"author A Uthor <author@example.com> 1750000000 +0100\ncommitter C Ommitter <committer@example.com> 1750000000 +0000\n\nChange\n"

func TestVerifyOpenPGP(t *testing.T) {
	payload := []byte(plainCommit)
	year := uint32(365 * 24 * 3600)
	at := func(when time.Time) func() time.Time { return func() time.Time { return when } }
	old := at(noon.AddDate(-3, 0, 0))
	ed := pgpEntity(t, "Ed", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	six := pgpEntity(t, "Six", &packet.Config{Algorithm: packet.PubKeyAlgoEd25519, V6Keys: true})
	rsa := pgpEntity(t, "Rsa", &packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 2048})
	p256 := pgpEntity(t, "Ec", &packet.Config{Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveNistP256})
	stranger := pgpEntity(t, "Stranger", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	terse := *ed.PrivateKey
	terse.Fingerprint = nil // the library then writes the key ID alone, as GnuPG 1 did
	impostor := *stranger.PrivateKey
	impostor.KeyId, impostor.Fingerprint = ed.PrimaryKey.KeyId, ed.PrimaryKey.Fingerprint
	expired := pgpEntity(t, "Expired", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Time: old, KeyLifetimeSecs: year})
	future := pgpEntity(t, "Future", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Time: at(noon.AddDate(0, 0, 1))})
	revoked := pgpEntity(t, "Revoked", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	if err := revoked.RevokeKey(packet.KeySuperseded, "", &packet.Config{Time: at(noon.AddDate(0, -1, 0))}); err != nil {
		t.Fatal(err)
	}
	// One primary key with subkeys of all kinds.
	many := pgpEntity(t, "Many", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Time: old})
	for _, c := range []*packet.Config{
		{Algorithm: packet.PubKeyAlgoEdDSA, Time: old},
		{Algorithm: packet.PubKeyAlgoEdDSA, Time: old, KeyLifetimeSecs: year},
		{Algorithm: packet.PubKeyAlgoEdDSA, Time: old},
		{Algorithm: packet.PubKeyAlgoRSA, RSABits: 1024, Time: old},
	} {
		if err := many.AddSigningSubkey(c); err != nil {
			t.Fatal(err)
		}
	}
	subs := many.Subkeys[len(many.Subkeys)-4:]
	if err := many.RevokeSubkey(&subs[2], packet.NoReason, "", &packet.Config{Time: at(noon)}); err != nil {
		t.Fatal(err)
	}
	// A subkey that may only encrypt, though its algorithm could sign.
	mute := pgpEntity(t, "Mute", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Time: old})
	if err := mute.AddSigningSubkey(&packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Time: old}); err != nil {
		t.Fatal(err)
	}
	last := &mute.Subkeys[len(mute.Subkeys)-1]
	last.Sig.FlagSign, last.Sig.EmbeddedSignature = false, nil
	if err := last.Sig.SignKey(last.PublicKey, mute.PrivateKey, nil); err != nil {
		t.Fatal(err)
	}

	keys := keysOf(t, publicKey(t, ed, rsa)+"\n# and others\n"+publicKey(t, p256), publicKey(t, expired, future, revoked, many, mute), publicKey(t, six))
	fp := func(k *packet.PrivateKey) string { return fmt.Sprintf("OpenPGP key %X", k.Fingerprint) }
	by := func(e *openpgp.Entity, k *packet.PrivateKey) string {
		for name := range e.Identities {
			return "signed by " + fp(k) + " of " + name
		}
		return ""
	}
	hours := uint32(3600)
	cases := []struct {
		name string
		raw  []byte
		want string
	}{
		{"EdDSA", pgpSign(t, payload, ed.PrivateKey, nil), ""},
		{"version 6", pgpSign(t, payload, six.PrivateKey, nil), ""},
		{"RSA", pgpSign(t, payload, rsa.PrivateKey, nil), ""},
		{"ECDSA, SHA-384", pgpSign(t, payload, p256.PrivateKey, func(s *packet.Signature) { s.Hash = crypto.SHA384 }), ""},
		{"by key ID alone", pgpSign(t, payload, &terse, nil), ""},
		{"subkey", pgpSign(t, payload, subs[0].PrivateKey, nil), ""},
		{"dated back", pgpSign(t, payload, expired.PrivateKey, func(s *packet.Signature) { s.CreationTime = noon.AddDate(-2, -6, 0) }), by(expired, expired.PrivateKey) + ", which expired on 2024-05-31"},
		{"expired subkey", pgpSign(t, payload, subs[1].PrivateKey, nil), by(many, subs[1].PrivateKey) + ", which expired on 2024-05-31"},
		{"of tomorrow", pgpSign(t, payload, future.PrivateKey, nil), by(future, future.PrivateKey) + ", which is of 2026-06-02 and not valid yet"},
		{"revoked", pgpSign(t, payload, revoked.PrivateKey, func(s *packet.Signature) { s.CreationTime = noon.AddDate(0, -6, 0) }), by(revoked, revoked.PrivateKey) + ", which is revoked"},
		{"revoked subkey", pgpSign(t, payload, subs[2].PrivateKey, nil), by(many, subs[2].PrivateKey) + ", which is revoked"},
		{"weak subkey", pgpSign(t, payload, subs[3].PrivateKey, nil), by(many, subs[3].PrivateKey) + ", which does not count: it is an RSA key of 1024 bits; use 2048 or more"},
		{"subkey that may not sign", pgpSign(t, payload, last.PrivateKey, nil), by(mute, last.PrivateKey) + ", which does not count: it is not marked as one that signs"},
		{"SHA-1", pgpSign(t, payload, ed.PrivateKey, func(s *packet.Signature) { s.Hash = crypto.SHA1 }), "its OpenPGP signature uses SHA-1, which is too weak; sign with SHA-256 or better"},
		{"text", pgpSign(t, payload, ed.PrivateKey, func(s *packet.Signature) { s.SigType = packet.SigTypeText }), "its OpenPGP signature is of type 0x1, which is not one of a document"},
		{"certificate", pgpSign(t, payload, ed.PrivateKey, func(s *packet.Signature) { s.SigType = packet.SigTypePositiveCert }), "its OpenPGP signature is of type 0x13, which is not one of a document"},
		{"signature's own end", pgpSign(t, payload, ed.PrivateKey, func(s *packet.Signature) { s.SigLifetimeSecs = &hours }), by(ed, ed.PrivateKey) + ", whose signature of this commit expired on 2026-05-01"},
		{"condition", pgpSign(t, payload, ed.PrivateKey, func(s *packet.Signature) {
			s.Notations = []*packet.Notation{{Name: "only@example.com", Value: []byte("x"), IsCritical: true, IsHumanReadable: true}}
		}), by(ed, ed.PrivateKey) + ` with the condition "only@example.com", which is not known here`},
		{"stranger", pgpSign(t, payload, stranger.PrivateKey, nil), "signed by " + fp(stranger.PrivateKey) + ", which is not listed"},
		{"stranger under another's name", pgpSign(t, payload, &impostor, nil), "the signature by " + strings.TrimPrefix(by(ed, ed.PrivateKey), "signed by ") + " is not one of this commit"},
		{"body", bytes.Replace(pgpSign(t, payload, ed.PrivateKey, nil), []byte("Change"), []byte("Chance"), 1), "the signature by " + strings.TrimPrefix(by(ed, ed.PrivateKey), "signed by ") + " is not one of this commit"},
		{"nonsense", withHeader(payload, "gpgsig", "-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----"), "its OpenPGP signature cannot be read"},
		{"no end", withHeader(payload, "gpgsig", "-----BEGIN PGP SIGNATURE-----\n\nAAAA\n"), "its OpenPGP signature cannot be read"},
		{"a key", withHeader(payload, "gpgsig", armoured(t, openpgp.SignatureType, ed.PrimaryKey.Serialize)), "its OpenPGP signature cannot be read"},
		{"two packets", withHeader(payload, "gpgsig", twice(t, pgpSign(t, payload, ed.PrivateKey, nil))), "it has more than one signature"},
	}
	for _, c := range cases {
		got := keys.refuse(c.raw, noon)
		if got != c.want && (c.want == "" || !strings.HasPrefix(got, c.want)) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func twice(t testing.TB, commit []byte) string {
	t.Helper()
	_, text, _ := splitCommit(commit)
	block, err := armor.Decode(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(block.Body)
	if err != nil {
		t.Fatal(err)
	}
	return armoured(t, openpgp.SignatureType, func(w io.Writer) error {
		_, err := w.Write(append(b, b...))
		return err
	})
}

// TestVerifyWithGPG signs, prolongs and revokes with the real program.
func TestVerifyWithGPG(t *testing.T) {
	if _, err := exec.LookPath("gpg"); err != nil {
		t.Skip("gpg is not installed: OpenPGP is tested with signatures made in Go alone")
	}
	home, err := os.MkdirTemp("", "gpg") // short: gpg-agent's socket is in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run() // one that is not there needs no killing
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("GNUPGHOME", home)
	gpg := func(stdin string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "gpg", append([]string{"--batch", "--yes", "--passphrase", "", "--pinentry-mode", "loopback"}, args...)...)
		cmd.Stdin = strings.NewReader(stdin)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("gpg %v: %v\n%s", args, err, &stderr)
		}
		return string(out)
	}
	dir := bare(t)
	var raw [][]byte
	var exported []string
	for i, algo := range []string{"ed25519", "rsa2048"} {
		user := fmt.Sprintf("User %d <user%d@example.com>", i, i)
		gpg("", "--quick-gen-key", user, algo, "sign", "2y")
		fpr := ""
		for line := range strings.Lines(gpg("", "--with-colons", "--list-keys", user)) {
			if f := strings.Split(line, ":"); f[0] == "fpr" && fpr == "" {
				fpr = f[9]
			}
		}
		gpg("", "--quick-add-key", fpr, algo, "sign", "1y")
		h := testenv.Git(t, dir, "-c", "user.name=U", "-c", "user.email=u@example.com", "commit-tree", "-S"+fpr, "-m", "By a subkey", tree(t, dir))
		raw = append(raw, catCommit(t, dir, h))
		h = testenv.Git(t, dir, "-c", "user.name=U", "-c", "user.email=u@example.com", "commit-tree", "-S"+fpr+"!", "-m", "By the key", tree(t, dir))
		raw = append(raw, catCommit(t, dir, h))
		exported = append(exported, gpg("", "--armor", "--export", fpr))
		if i == 0 {
			// gpg guards its prepared revocation with a colon.
			revocation := strings.Replace(read(t, filepath.Join(home, "openpgp-revocs.d", fpr+".rev")), ":-----BEGIN", "-----BEGIN", 1)
			gpg(revocation, "--import")
			exported = append(exported, gpg("", "--armor", "--export", fpr))
		}
	}
	now := time.Now() // gpg's clock is the machine's
	keys := keysOf(t, exported[0], exported[2])
	for i, c := range raw {
		if why := keys.refuse(c, now); why != "" {
			t.Errorf("commit %d: %s", i, why)
		}
	}
	for i, c := range raw {
		want := ", which expired on "
		why := keys.refuse(c, now.AddDate(3, 0, 0))
		if !strings.Contains(why, want) {
			t.Errorf("commit %d in three years: %q", i, why)
		}
		// In eighteen months the subkeys have expired, the keys have not.
		if why := keys.refuse(c, now.AddDate(0, 18, 0)); (why != "") != (i%2 == 0) {
			t.Errorf("commit %d in eighteen months: %q", i, why)
		}
	}
	keys = keysOf(t, exported[1])
	for i, c := range raw[:2] {
		if why := keys.refuse(c, now); !strings.HasSuffix(why, ", which is revoked") {
			t.Errorf("commit %d: %q", i, why)
		}
	}
	if why := keys.refuse(raw[2], now); !strings.HasSuffix(why, ", which is not listed") {
		t.Error(why)
	}
}

func TestParseKeysForms(t *testing.T) {
	key := strings.TrimSpace(read(t, sshKeygen(t, "-t", "ed25519")+".pub"))
	bare := strings.TrimSuffix(key, " alice@example.com")
	pgp := publicKey(t, pgpEntity(t, "Ed", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA}))
	for text, want := range map[string]int{
		key: 1, bare: 1, "\ufeff" + key + "\r\n": 1, "# x\n\n  \t" + key: 1,
		"alice@example.com,*@corp.example " + key:                     1,
		`"alice, the first" ` + key:                                   1,
		`alice namespaces="git,file" ` + key + ` and a "quote`:        1,
		`alice namespaces="file" ` + key + "\nbob " + key:             1,
		`alice NAMESPACES="*" ` + bare:                                1,
		`namespaces="git",valid-before="20300101" ` + key:             1,
		`expiry-time="203001010000" ` + key:                           1,
		"ssh-admin@example.com " + key:                                1,
		strings.ReplaceAll(pgp, "\n", "\r\n") + key + "\n" + pgp:      5,
		"# a comment\n" + pgp + "\n" + key + "\nalice " + key + "\n#": 4,
	} {
		p := keyParser{keys: Keys{ssh: map[string][]sshKey{}}}
		p.source("keys", text)
		if len(p.mistakes) > 0 || p.count() != want {
			t.Errorf("%.60q: %d keys of %d, %v", text, p.count(), want, p.mistakes)
		}
	}
}

func TestParseKeysReportsEveryMistake(t *testing.T) {
	path := sshKeygen(t, "-t", "ed25519")
	key := strings.TrimSpace(read(t, path+".pub"))
	weakRSA := strings.TrimSpace(read(t, sshKeygen(t, "-t", "rsa", "-b", "1024")+".pub"))
	out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-s", path, "-I", "x", "-n", "alice", path+".pub").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cert := strings.TrimSpace(read(t, path+"-cert.pub"))
	dsa := "ssh-dss " + base64.StdEncoding.EncodeToString(ssh.Marshal(struct{ T string }{"ssh-dss"}))
	ed := pgpEntity(t, "Ed", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	secret := armoured(t, openpgp.PublicKeyType, func(w io.Writer) error { return ed.SerializePrivate(w, nil) })
	weakPGP := publicKey(t, pgpEntity(t, "Weak", &packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 1024}))
	sha1 := pgpEntity(t, "Old", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	for _, id := range sha1.Identities {
		id.SelfSignature.Hash = crypto.SHA1
		if err := id.SelfSignature.SignUserId(id.UserId.Id, sha1.PrimaryKey, sha1.PrivateKey, unsalted); err != nil {
			t.Fatal(err)
		}
	}
	encryptOnly := pgpEntity(t, "Mute", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	for _, id := range encryptOnly.Identities {
		id.SelfSignature.FlagSign = false
		if err := id.SelfSignature.SignUserId(id.UserId.Id, encryptOnly.PrimaryKey, encryptOnly.PrivateKey, nil); err != nil {
			t.Fatal(err)
		}
	}
	// A revocation with an algorithm that the library does not know, which it passes over.
	revoked := pgpEntity(t, "Gone", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	plain := decodeArmour(t, publicKey(t, revoked))
	if err := revoked.RevokeKey(packet.NoReason, "", nil); err != nil {
		t.Fatal(err)
	}
	var rev bytes.Buffer
	if err := revoked.Revocations[0].Serialize(&rev); err != nil {
		t.Fatal(err)
	}
	odd := rev.Bytes()
	odd[5] = 99 // after two bytes of header: version, type, algorithm, hash
	hidden := armoured(t, openpgp.PublicKeyType, func(w io.Writer) error { _, err := w.Write(append(plain, odd...)); return err })

	for text, want := range map[string]string{
		"nonsense":                             "keys:1: this is no SSH public key",
		"":                                     "keys:1: it lists no key that counts for commits",
		"# nothing\n":                          "keys:1: it lists no key that counts for commits",
		`alice namespaces="file" ` + key:       "keys:1: it lists no key that counts for commits",
		`alice namespaces="g*" ` + key:         `keys:1: namespaces has the pattern "g*"`,
		"alice cert-authority " + key:          "keys:1: cert-authority does not count: whom an authority will certify",
		"cert-authority " + key:                "keys:1: cert-authority does not count",
		cert:                                   "keys:1: this is a certificate",
		`from="10.0.0.0/8" ` + key:             `keys:1: the option "from" is not kept`,
		"verify-required " + key:               `keys:1: the option "verify-required" is not kept`,
		`alice valid-before="2026" ` + key:     `keys:1: valid-before is "2026", which is not a time such as 20260131`,
		`alice valid-before="20261399" ` + key: `keys:1: valid-before is "20261399"`,
		`alice valid-after="20260102",valid-before="20260101" ` + key: "keys:1: valid-after is not before valid-before",
		"alice bob " + key:            `keys:1: the option "bob" is not kept`,
		"alice bob carol " + key:      `keys:1: "carol" stands before the key's type`,
		`"alice ` + key:               "keys:1: a quote is not closed",
		key + "\n\nssh-ed25519 ???\n": "keys:3: the key after ssh-ed25519 is not base64",
		"ssh-ed25519 AAAA":            "keys:1: the key after ssh-ed25519 cannot be read",
		"ssh-ed25519":                 "keys:1: the key after ssh-ed25519 cannot be read",
		strings.Replace(key, "ssh-ed25519", "ssh-rsa", 1): "keys:1: the key after ssh-rsa is of type ssh-ed25519",
		weakRSA:                          "keys:1: this is an RSA key of 1024 bits; use 2048 or more",
		dsa:                              "keys:1: the key after ssh-dss cannot be read",
		read(t, path):                    "keys:1: this is a private key",
		"\n" + secret:                    "keys:2: key 1 of this block, OpenPGP key " + fmt.Sprintf("%X", ed.PrimaryKey.Fingerprint) + ", never counts: it is a private key",
		publicKey(t, ed)[:120]:           `keys:1: this block does not end in "-----END PGP PUBLIC KEY BLOCK-----"`,
		beginPGP + "\n" + endPGP:         "keys:1: this block cannot be read",
		beginPGP + "\n\n????\n" + endPGP: "keys:1: this block cannot be read",
		armoured(t, openpgp.PublicKeyType, func(io.Writer) error { return nil }): "keys:1: key 1 of this block cannot be read",
		publicKey(t, ed) + weakPGP: "never counts: it is an RSA key of 1024 bits; use 2048 or more",
		publicKey(t, sha1):         "never counts: its own signature uses SHA-1; renew it with gpg --quick-set-expire",
		publicKey(t, encryptOnly):  "never counts: it is not marked as one that signs",
		hidden:                     "keys:1: this block has a signature that cannot be read, which may be a revocation",
		"-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n" + key: `keys:1: "-----BEGIN CERTIFICATE-----" is not read`,
	} {
		k, err := ParseKeys(map[string]string{"keys": text, "other": key})
		if err == nil {
			t.Errorf("%.80q: no mistake, want %q", text, want)
			continue
		}
		wantKind(t, err, plumbline.ErrInvalid, want)
		if n := len(strings.Split(err.Error(), "\n")); n != 1 {
			t.Errorf("%.80q: %d mistakes: %v", text, n, err)
		}
		if len(k.ssh)+len(k.pgp) > 0 {
			t.Errorf("%.80q: keys of a list with mistakes", text)
		}
	}
	_, err = ParseKeys(map[string]string{"b": "x\n\ny z\n", "a": key + "\n" + weakRSA})
	wantKind(t, err, plumbline.ErrInvalid)
	var places []string
	for line := range strings.Lines(err.Error()) {
		place, _, _ := strings.Cut(line, ": ")
		places = append(places, place)
	}
	if !slices.Equal(places, []string{"a:2", "b:1", "b:3"}) {
		t.Errorf("mistakes at %v", places)
	}
}

func decodeArmour(t testing.TB, text string) []byte {
	t.Helper()
	block, err := armor.Decode(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(block.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"A Uthor": "A Uthor", "a\x1b[31mb\n": "a\uFFFD[31mb\uFFFD", "\xff": "\uFFFD", "a\u202eb": "a\uFFFDb",
		strings.Repeat("ä", 130): strings.Repeat("ä", 120) + "…",
	} {
		if got := visible(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func FuzzParseKeys(f *testing.F) {
	key := read(f, sshKeygen(f, "-t", "ed25519")+".pub")
	f.Add(key)
	f.Add("alice@example.com namespaces=\"git\",valid-before=\"20300101Z\" " + key)
	for _, c := range []*packet.Config{{Algorithm: packet.PubKeyAlgoEdDSA}, {Algorithm: packet.PubKeyAlgoRSA, RSABits: 2048}, {Algorithm: packet.PubKeyAlgoEd25519, V6Keys: true}} {
		e := pgpEntity(f, "Ed", c)
		if err := e.AddSigningSubkey(c); err != nil {
			f.Fatal(err)
		}
		f.Add(publicKey(f, e))
	}
	f.Add(beginPGP + "\n\n" + endPGP)
	commit := []byte(plainCommit)
	signature := pgpSign(f, commit, pgpEntity(f, "X", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA}).PrivateKey, nil)
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParseKeys(map[string]string{"keys": text})
		if err != nil {
			if !errors.Is(err, plumbline.ErrInvalid) || !strings.HasPrefix(err.Error(), "keys:") {
				t.Fatal(err)
			}
			return
		}
		if len(k.ssh)+len(k.pgp) == 0 {
			t.Fatal("neither a key nor a mistake")
		}
		if k.refuse(signature, noon) == "" {
			t.Fatal("a stranger's signature counts")
		}
	})
}

// fuzzKeys returns keys of all kinds, the same to all processes that fuzz together: they must have those with which the
// first one made its seeds.
func fuzzKeys(f *testing.F) (openpgp.EntityList, ssh.Signer, Keys) {
	f.Helper()
	const shared = "PLUMBLINE_FUZZ_KEYS"
	dir := os.Getenv(shared)
	if dir == "" {
		dir = filepath.Dir(sshKeygen(f, "-t", "ed25519"))
		var ring bytes.Buffer
		for _, c := range []*packet.Config{
			{Algorithm: packet.PubKeyAlgoEdDSA}, {Algorithm: packet.PubKeyAlgoRSA, RSABits: 2048}, {Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveNistP256},
		} {
			if err := pgpEntity(f, "Ed", c).SerializePrivate(&ring, nil); err != nil {
				f.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "ring"), ring.Bytes(), 0o600); err != nil {
			f.Fatal(err)
		}
		f.Setenv(shared, dir)
	}
	entities, err := openpgp.ReadKeyRing(strings.NewReader(read(f, filepath.Join(dir, "ring"))))
	if err != nil {
		f.Fatal(err)
	}
	path := filepath.Join(dir, "key")
	keys := keysOf(f, publicKey(f, entities...), read(f, path+".pub"))
	signer, err := ssh.ParsePrivateKey([]byte(read(f, path)))
	if err != nil {
		f.Fatal(err)
	}
	return entities, signer, keys
}

func sshSign(f *testing.F, payload []byte, signer ssh.Signer) *sshsig.Signature {
	f.Helper()
	sig, err := sshsig.Sign(bytes.NewReader(payload), signer, sshsig.HashSHA512, "git")
	if err != nil {
		f.Fatal(err)
	}
	return sig
}

// FuzzVerify: whatever is done to signed commits, only what was signed counts.
func FuzzVerify(f *testing.F) {
	payload := []byte(plainCommit)
	entities, signer, keys := fuzzKeys(f)
	for _, e := range entities {
		f.Add(pgpSign(f, payload, e.PrivateKey, nil))
	}
	f.Add(withHeader(payload, "gpgsig", string(sshsig.Armor(sshSign(f, payload, signer)))))
	f.Add(payload)
	f.Fuzz(func(t *testing.T, commit []byte) {
		if keys.refuse(commit, noon) != "" {
			return
		}
		got, _, _ := splitCommit(commit)
		if !bytes.Equal(got, payload) {
			t.Fatalf("counts, and was not signed:\n%s", commit)
		}
		c, err := decode(commit)
		if err != nil || c.Message != "Change\n" || c.TreeHash.String() != plainCommit[5:45] {
			t.Fatalf("counts, and is used as another: %v, %v", c, err)
		}
	})
}

// FuzzPackets changes what is inside of the armour, where base64 and checksums would keep the fuzzer from coming: no
// signature counts that was not made of this commit, and no key that its owner has not made.
func FuzzPackets(f *testing.F) {
	payload := []byte(plainCommit)
	elsewhere := []byte(strings.Replace(plainCommit, "Change", "Other change", 1))
	entities, signer, keys := fuzzKeys(f)
	for _, e := range entities {
		_, sig, _ := splitCommit(pgpSign(f, elsewhere, e.PrivateKey, nil))
		f.Add(decodeArmour(f, sig))
		if err := e.AddSigningSubkey(&packet.Config{Algorithm: packet.PubKeyAlgoEdDSA}); err != nil {
			f.Fatal(err)
		}
		f.Add(decodeArmour(f, publicKey(f, e)))
	}
	f.Add(sshSign(f, elsewhere, signer).Marshal())
	stranger := pgpSign(f, payload, pgpEntity(f, "X", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA}).PrivateKey, nil)
	f.Fuzz(func(t *testing.T, data []byte) {
		write := func(w io.Writer) error { _, err := w.Write(data); return err }
		for _, sig := range []string{
			armoured(t, openpgp.SignatureType, write),
			string(pem.EncodeToMemory(&pem.Block{Type: sshsig.PEMType, Bytes: data})),
		} {
			if keys.refuse(withHeader(payload, "gpgsig", sig), noon) == "" {
				t.Fatalf("counts, and is not of this commit:\n%s", sig)
			}
		}
		k, err := ParseKeys(map[string]string{"keys": armoured(t, openpgp.PublicKeyType, write)})
		if err == nil && k.refuse(stranger, noon) == "" {
			t.Fatal("a stranger's signature counts")
		}
	})
}
