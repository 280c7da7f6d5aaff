package git

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/plumbline/plumbline/internal/plumbline"
)

func newKey(t *testing.T) (ssh.Signer, []byte) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	return signer, pem.EncodeToMemory(block)
}

// sshServer serves repositories below dir to one user with one key, and returns its address and host key.
func sshServer(t *testing.T, dir string, client ssh.PublicKey) (addr string, host ssh.PublicKey) {
	t.Helper()
	signer, _ := newKey(t)
	conf := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() != "forge" || string(key.Marshal()) != string(client.Marshal()) {
			return nil, errors.New("unknown key")
		}
		return nil, nil
	}}
	conf.AddHostKey(signer)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		running.Wait()
	})
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { serveSSH(t, conn, conf, dir) })
		}
	})
	return l.Addr().String(), signer.PublicKey()
}

func serveSSH(t *testing.T, conn net.Conn, conf *ssh.ServerConfig, dir string) {
	c, channels, requests, err := ssh.NewServerConn(conn, conf)
	if err != nil {
		_ = conn.Close() // refused, as some tests want
		return
	}
	go ssh.DiscardRequests(requests)
	for nc := range channels {
		ch, requests, err := nc.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		for req := range requests {
			if req.Type != "exec" {
				_ = req.Reply(false, nil)
				continue
			}
			_ = req.Reply(true, nil)
			var payload struct{ Command string }
			if err := ssh.Unmarshal(req.Payload, &payload); err != nil {
				t.Error(err)
			}
			program, path, _ := strings.Cut(payload.Command, " ")
			cmd := exec.Command("git", strings.TrimPrefix(program, "git-"), filepath.Join(dir, filepath.Base(strings.Trim(path, "'"))))
			cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Error(err)
			}
			go func() { _, _ = io.Copy(in, ch); _ = in.Close() }() // ends with the connection
			status := struct{ Code uint32 }{}
			if err := cmd.Run(); err != nil {
				status.Code = 128
			}
			_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(status))
			_ = ch.Close()
			break
		}
	}
	_ = c.Close()
}

func TestSSH(t *testing.T) {
	dir := bare(t)
	c := commit(t, dir, "main", nil, file("a", "1"))
	client, pemBytes := newKey(t)
	addr, host := sshServer(t, filepath.Dir(dir), client.PublicKey())
	work := t.TempDir()
	write := func(name string, b []byte) string {
		p := filepath.Join(work, name)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	stranger, strangerPEM := newKey(t)
	key, otherKey := write("key", pemBytes), write("other", strangerPEM)
	hosts := write("known_hosts", []byte(knownhosts.Line([]string{addr}, host)+"\n"))
	impostor := write("impostor", []byte(knownhosts.Line([]string{addr}, stranger.PublicKey())+"\n"))
	empty := write("empty", nil)

	url := "ssh://forge@" + addr + "/infra.git"
	r := openWith(t, Config{Dir: t.TempDir()}, Remote{URL: url, SSHKey: key, KnownHosts: hosts})
	if refs := pull(t, r); refs["refs/heads/main"] != c || !r.Has(c) {
		t.Errorf("refs %v", refs)
	}
	for name, bad := range map[string]struct {
		rem  Remote
		kind error
		text string
	}{
		"changed host key": {Remote{URL: url, SSHKey: key, KnownHosts: impostor}, plumbline.ErrDenied, "known_hosts"},
		"unknown host":     {Remote{URL: url, SSHKey: key, KnownHosts: empty}, plumbline.ErrDenied, "known_hosts"},
		"wrong key":        {Remote{URL: url, SSHKey: otherKey, KnownHosts: hosts}, plumbline.ErrDenied, "does not accept user forge"},
		"wrong user":       {Remote{URL: url, Username: "me", SSHKey: key, KnownHosts: hosts}, plumbline.ErrDenied, "does not accept user me"},
		"no repository":    {Remote{URL: "ssh://forge@" + addr + "/none.git", SSHKey: key, KnownHosts: hosts}, plumbline.ErrNotFound, "is not at"},
		"no key file":      {Remote{URL: url, SSHKey: work + "/none", KnownHosts: hosts}, os.ErrNotExist, "ssh key of repository infra"},
		"no known hosts":   {Remote{URL: url, SSHKey: key, KnownHosts: work + "/none"}, os.ErrNotExist, "known hosts of repository infra"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := openWith(t, Config{Dir: t.TempDir()}, bad.rem).Refs(t.Context())
			wantKind(t, err, bad.kind, bad.text)
		})
	}
}
