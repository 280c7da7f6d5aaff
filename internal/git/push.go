package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/go-git/go-git/v5/plumbing/transport/client"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// NewCommit is a commit to make and push.
type NewCommit struct {
	Parent  string            // commit, which the remote has too; "": none
	Files   map[string][]byte // name to content, in the top directory; nil removes; what is not named stays as in Parent
	Ref     string            // full name of the ref to push to
	Expect  string            // commit that Ref is at now, Parent or an ancestor of it; "": Ref does not exist
	Message string
	Author  string // "Name <address>"; committer too
	When    time.Time
}

// PushCommit makes a commit in the mirror, pushes it, and returns its hash. The remote moves the ref only when it is
// still where Expect says: otherwise the error is plumbline.ErrConflict and nothing has changed there.
func (r *Repo) PushCommit(ctx context.Context, c NewCommit) (commit string, err error) {
	if err := r.checkCommit(ctx, c); err != nil {
		return "", fmt.Errorf("push to %s: %w", r.name, err)
	}
	st := r.objects.open()
	defer func() { err = errors.Join(err, st.Close()) }()
	h, made, err := r.build(st, c)
	if err != nil {
		return "", fmt.Errorf("push to %s: %w", r.name, err)
	}
	expect := plumbing.NewHash(c.Expect) // zero: absent
	if h == expect {
		return h.String(), nil
	}
	if err := r.send(ctx, st, c.Ref, expect, h, made); err != nil {
		return "", err
	}
	return h.String(), nil
}

func (r *Repo) checkCommit(ctx context.Context, c NewCommit) error {
	for name := range c.Files {
		if why := refuseName(name); why != "" {
			return fmt.Errorf("file %q: %s: %w", name, why, plumbline.ErrInvalid)
		}
	}
	return r.checkPush(ctx, c.Ref, c.Expect, c.Parent)
}

// checkPush reports whether a commit on top of parent may be pushed to a ref that is at expect.
func (r *Repo) checkPush(ctx context.Context, ref, expect, parent string) error {
	if err := plumbing.ReferenceName(ref).Validate(); err != nil || !strings.HasPrefix(ref, "refs/") {
		return fmt.Errorf("%q is not the full name of a ref: %w", ref, plumbline.ErrInvalid)
	}
	if expect == "" {
		return nil
	}
	if parent == "" {
		return fmt.Errorf("a commit without parent does not follow %s: %w", plumbline.Short(expect), plumbline.ErrInvalid)
	}
	follows, err := r.IsAncestor(ctx, expect, parent)
	if err == nil && !follows {
		err = fmt.Errorf("%s does not follow %s: %w", plumbline.Short(parent), plumbline.Short(expect), plumbline.ErrInvalid)
	}
	return err
}

// build writes the commit's objects and returns the hashes of those that the parent does not have.
func (r *Repo) build(st storer.EncodedObjectStorer, c NewCommit) (commit plumbing.Hash, made []plumbing.Hash, err error) {
	who, err := signature(c.Author, c.When)
	if err != nil {
		return commit, nil, err
	}
	m := maker{st: st}
	var tree object.Tree
	var parents []plumbing.Hash
	if c.Parent != "" {
		top, err := r.tree(c.Parent)
		if err != nil {
			return commit, nil, err
		}
		if tree.Entries, err = r.objects.entries(top); err != nil {
			return commit, nil, err
		}
		parents = append(parents, plumbing.NewHash(c.Parent))
	}
	tree.Entries = slices.DeleteFunc(tree.Entries, func(e object.TreeEntry) bool {
		_, ok := c.Files[e.Name]
		return ok
	})
	for name, content := range c.Files {
		if content == nil {
			continue
		}
		h, err := m.put(func(obj plumbing.EncodedObject) error {
			obj.SetType(plumbing.BlobObject)
			w, err := obj.Writer()
			if err != nil {
				return err
			}
			_, err = w.Write(content)
			return errors.Join(err, w.Close())
		})
		if err != nil {
			return commit, nil, err
		}
		tree.Entries = append(tree.Entries, object.TreeEntry{Name: name, Mode: filemode.Regular, Hash: h})
	}
	slices.SortFunc(tree.Entries, compareEntries)
	top, err := m.put(tree.Encode)
	if err != nil {
		return commit, nil, err
	}
	commit, err = m.put((&object.Commit{
		Author: who, Committer: who, Message: c.Message, TreeHash: top, ParentHashes: parents,
	}).Encode)
	return commit, m.made, err
}

func signature(author string, when time.Time) (object.Signature, error) {
	a, err := mail.ParseAddress(author)
	if err != nil {
		return object.Signature{}, fmt.Errorf("author %q: %w: %w", author, err, plumbline.ErrInvalid)
	}
	return object.Signature{Name: a.Name, Email: a.Address, When: when}, nil
}

// maker writes objects, and remembers which.
type maker struct {
	st   storer.EncodedObjectStorer
	made []plumbing.Hash
}

func (m *maker) put(encode func(plumbing.EncodedObject) error) (plumbing.Hash, error) {
	obj := m.st.NewEncodedObject()
	if err := encode(obj); err != nil {
		return plumbing.ZeroHash, err
	}
	h, err := m.st.SetEncodedObject(obj)
	m.made = append(m.made, h)
	return h, err
}

// send pushes the objects and moves the ref from one commit to another. go-git's own push takes whatever the remote has
// for the old commit; here the old commit is the caller's, and the remote compares.
func (r *Repo) send(ctx context.Context, st storer.EncodedObjectStorer, ref string, from, to plumbing.Hash, objects []plumbing.Hash) (err error) {
	conflict := func() error {
		return fmt.Errorf("push to %s: %s is not at %s any more: %w", r.name, ref, expected(from), plumbline.ErrConflict)
	}
	auth, err := r.remote.auth(ctx)
	if err != nil {
		return err
	}
	ep, err := transport.NewEndpoint(r.remote.url)
	if err != nil {
		return err
	}
	cl, err := client.NewClient(ep)
	if err != nil {
		return err
	}
	conn, err := cl.NewReceivePackSession(ep, auth)
	if err != nil {
		return r.remote.explain(ctx, "push to", err)
	}
	closed := false
	defer func() {
		if !closed {
			_ = conn.Close() // the error that matters is there already
		}
	}()
	adv, err := conn.AdvertisedReferencesContext(ctx)
	if err != nil && !errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return r.remote.explain(ctx, "push to", err)
	}
	if adv == nil {
		adv = packp.NewAdvRefs()
	}
	if adv.References[ref] != from {
		return conflict()
	}
	req := packp.NewReferenceUpdateRequestFromCapabilities(adv.Capabilities)
	if err := req.Capabilities.Set(capability.ReportStatus); err != nil {
		return err
	}
	req.Commands = []*packp.Command{{Name: plumbing.ReferenceName(ref), Old: from, New: to}}
	pr, pw := io.Pipe()
	req.Packfile = pr
	encoded := make(chan struct{})
	go func() {
		defer close(encoded)
		_, err := packfile.NewEncoder(pw, st, false).Encode(objects, 0)
		_ = pw.CloseWithError(err) // nil: the end
	}()
	report, err := conn.ReceivePack(ctx, req)
	_ = pr.Close() // lets the encoder go when the remote did not want all of it
	<-encoded
	if report != nil {
		err = errors.Join(err, report.Error())
	}
	closed = true
	if cerr := conn.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		return nil
	}
	// The remote says in words why it did not move the ref, every server in its own: look at the ref instead.
	if refs, lerr := r.Refs(ctx); lerr == nil {
		switch refs[ref] {
		case to.String():
			return nil // the answer was lost, not the push
		case from.String():
		case "":
			if !from.IsZero() {
				return conflict()
			}
		default:
			return conflict()
		}
	}
	return r.remote.explain(ctx, "push to", err)
}

func expected(h plumbing.Hash) string {
	if h.IsZero() {
		return "its beginning"
	}
	return plumbline.Short(h.String())
}

// ReadFiles returns all files of a small commit or tree, path to content. It stops with a TooLargeError when they have
// more than Config.MaxFile bytes together.
func (r *Repo) ReadFiles(ctx context.Context, treeish string) (map[string][]byte, error) {
	top, err := r.tree(treeish)
	if err != nil {
		return nil, err
	}
	out, left := map[string][]byte{}, r.maxFile
	var read func(plumbing.Hash, string) error
	read = func(tree plumbing.Hash, prefix string) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		entries, err := r.objects.entries(tree)
		if err != nil {
			return err
		}
		for _, e := range entries {
			p := prefix + e.Name
			switch e.Mode {
			case filemode.Dir:
				if err := read(e.Hash, p+"/"); err != nil {
					return err
				}
			case filemode.Regular, filemode.Executable:
				b, size, err := r.objects.read(e.Hash, nil, left)
				if err != nil {
					return err
				}
				if size > left {
					return &TooLargeError{File: p, Size: r.maxFile - left + size, Limit: r.maxFile}
				}
				out[p], left = b, left-size
			}
		}
		return nil
	}
	if err := read(top, ""); err != nil {
		return nil, fmt.Errorf("read the files of %s in %s: %w", plumbline.Short(treeish), r.name, err)
	}
	return out, nil
}
