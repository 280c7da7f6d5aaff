package notify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"mime"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/plumbline/plumbline/internal/plumbline"
)

var decoder = new(mime.WordDecoder)

// hmacSHA256 is RFC 2104 by hand.
func hmacSHA256(key, text []byte) []byte {
	block := make([]byte, sha256.BlockSize)
	copy(block, key)
	inner, outer := bytes.Clone(block), bytes.Clone(block)
	for i := range block {
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	in := sha256.Sum256(append(inner, text...))
	out := sha256.Sum256(append(outer, in[:]...))
	return out[:]
}

// post office is a mail server that somebody else wrote.
type postOffice struct {
	mu       sync.Mutex
	received []string
	to       []string
	signed   []string // who signed in
	fail     error    // what it says to a letter
	login    bool     // offers LOGIN alone
}

func (p *postOffice) NewSession(c *smtp.Conn) (smtp.Session, error) {
	_, secured := c.TLSConnectionState()
	return &session{office: p, secured: secured}, nil
}

type session struct {
	office  *postOffice
	secured bool
	to      []string
}

func (s *session) AuthMechanisms() []string {
	if s.office.login {
		return []string{sasl.Login}
	}
	return []string{sasl.Plain}
}

func (s *session) Auth(mech string) (sasl.Server, error) {
	check := func(user, password string) error {
		if user != "plumbline" || password != plantedMail {
			return fmt.Errorf("no user %s with %s", user, password) // as rude as servers are
		}
		s.office.mu.Lock()
		defer s.office.mu.Unlock()
		s.office.signed = append(s.office.signed, mech)
		return nil
	}
	if mech == sasl.Login {
		return &loginServer{check: check}, nil
	}
	return sasl.NewPlainServer(func(_, user, password string) error { return check(user, password) }), nil
}

// loginServer asks for a name and a password, each by itself.
type loginServer struct {
	step  int
	user  string
	check func(user, password string) error
}

func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	l.step++
	switch l.step {
	case 1:
		return []byte("Username:"), false, nil
	case 2:
		l.user = string(response)
		return []byte("Password:"), false, nil
	}
	return nil, true, l.check(l.user, string(response))
}

func (s *session) Mail(string, *smtp.MailOptions) error { return nil }
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = append(s.to, to)
	return nil
}
func (s *session) Reset()        { s.to = nil }
func (s *session) Logout() error { return nil }

func (s *session) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.office.mu.Lock()
	defer s.office.mu.Unlock()
	if s.office.fail != nil {
		return s.office.fail
	}
	s.office.received = append(s.office.received, string(b))
	s.office.to = append(s.office.to, s.to...)
	return nil
}

// mailServer starts a server and returns how to reach it.
func mailServer(t *testing.T, p *postOffice, mode string) (Mail, *tls.Config) {
	t.Helper()
	cert, roots := certificate(t)
	s := smtp.NewServer(p)
	s.Domain, s.AllowInsecureAuth = "mail.example.com", mode == TLSNone
	s.ErrorLog = quiet{}
	serverTLS := &tls.Config{Certificates: []tls.Certificate{cert}}
	if mode != TLSNone {
		s.TLSConfig = serverTLS
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if mode == TLSImplicit {
		l = tls.NewListener(l, serverTLS)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-ended; err != nil && !errors.Is(err, smtp.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			t.Errorf("the mail server: %v", err)
		}
	})
	return Mail{
		Host: "127.0.0.1", Port: port, TLS: mode, Username: "plumbline", Password: plumbline.NewSecret(plantedMail),
		From: "plumbline@example.com", To: []string{"ops@example.com", "sre@example.com"},
	}, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func mailOffice(t *testing.T, m Mail, roots *tls.Config) *Office {
	t.Helper()
	return office(t, Config{Sinks: []Settings{{Kind: Email, Name: "mail", Mail: m}}, Roots: roots, Timeout: 5 * time.Second})
}

func TestMail(t *testing.T) {
	for _, mode := range []string{TLSStart, TLSImplicit, TLSNone} {
		for _, login := range []bool{false, true} {
			t.Run(fmt.Sprint(mode, " login ", login), func(t *testing.T) {
				p := &postOffice{login: login}
				m, roots := mailServer(t, p, mode)
				msg := aMessage()
				msg.Title = "live/net awaits approval: ±1 −2"
				for range 2 {
					if err := mailOffice(t, m, roots).Send(t.Context(), "mail", msg); err != nil {
						t.Fatal(err)
					}
				}
				if len(p.received) != 2 || strings.Join(p.to[:2], " ") != "ops@example.com sre@example.com" || len(p.signed) != 2 {
					t.Fatalf("%d letters to %v, signed in by %v", len(p.received), p.to, p.signed)
				}
				var ids []string
				for _, raw := range p.received {
					clean(t, "a letter", raw)
					got, err := mail.ReadMessage(strings.NewReader(raw))
					if err != nil {
						t.Fatal(err)
					}
					ids = append(ids, got.Header.Get("Message-Id"))
					if title, err := decoder.DecodeHeader(got.Header.Get("Subject")); err != nil || title != "[Plumbline] "+msg.Title {
						t.Errorf("subject %q, %v", title, err)
					}
				}
				// The same message has the same ID, so that it is shown once.
				if ids[0] != ids[1] || !strings.HasSuffix(ids[0], "@example.com>") {
					t.Errorf("message IDs %v", ids)
				}
			})
		}
	}
}

// TestMailRefusals: nothing goes out unprotected that is to be protected, and errors have neither password nor more than what can be said.
func TestMailRefusals(t *testing.T) {
	t.Run("no starttls", func(t *testing.T) {
		p := &postOffice{}
		m, roots := mailServer(t, p, TLSNone)
		m.TLS = TLSStart
		err := mailOffice(t, m, roots).Send(t.Context(), "mail", aMessage())
		if err == nil || len(p.received) != 0 || len(p.signed) != 0 {
			t.Errorf("%v, %d letters, signed in %v", err, len(p.received), p.signed)
		}
	})
	t.Run("unknown certificate", func(t *testing.T) {
		for _, mode := range []string{TLSStart, TLSImplicit} {
			p := &postOffice{}
			m, _ := mailServer(t, p, mode)
			err := mailOffice(t, m, nil).Send(t.Context(), "mail", aMessage())
			if err == nil || len(p.received) != 0 || len(p.signed) != 0 {
				t.Errorf("%v, %d letters", err, len(p.received))
			}
		}
	})
	t.Run("wrong password", func(t *testing.T) {
		p := &postOffice{}
		m, roots := mailServer(t, p, TLSStart)
		m.Username = "somebody"
		err := mailOffice(t, m, roots).Send(t.Context(), "mail", aMessage())
		if err == nil || errors.Is(err, plumbline.ErrInvalid) {
			t.Errorf("%v", err)
		}
		clean(t, "an error", fmt.Sprintf("%v %+v %#v", err, err, err))
	})
	for name, c := range map[string]struct {
		fail    error
		invalid bool
	}{
		"for good":  {&smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "spam"}, true},
		"for now":   {&smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "greylisted"}, false},
		"overquota": {&smtp.SMTPError{Code: 452, Message: "full"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := &postOffice{fail: c.fail}
			m, roots := mailServer(t, p, TLSStart)
			err := mailOffice(t, m, roots).Send(t.Context(), "mail", aMessage())
			if err == nil || errors.Is(err, plumbline.ErrInvalid) != c.invalid {
				t.Errorf("%v, for good %t", err, errors.Is(err, plumbline.ErrInvalid))
			}
		})
	}
}

// TestMailTarpit: a server that never comes to an end, or talks without one, keeps nobody longer than the time.
func TestMailTarpit(t *testing.T) {
	for name, talk := range map[string]func(net.Conn){
		"silent": func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
		"slow": func(c net.Conn) {
			for range time.Tick(300 * time.Millisecond) {
				if _, err := io.WriteString(c, "220-wait\r\n"); err != nil {
					return
				}
			}
		},
		"endless": func(c net.Conn) {
			for {
				if _, err := io.WriteString(c, strings.Repeat("x", 1<<16)); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer func() { _ = c.Close() }()
				talk(c)
			}()
			o := office(t, Config{Timeout: time.Second, Sinks: []Settings{{Kind: Email, Name: "mail", Mail: Mail{
				Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, TLS: TLSNone, From: "a@example.com", To: []string{"b@example.com"},
			}}}})
			begin := time.Now()
			if err := o.Send(t.Context(), "mail", aMessage()); err == nil {
				t.Error("no error")
			}
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}
