package notify

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/wneessen/go-mail"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// maxTalk is how many bytes are read of what a mail server says.
const maxTalk = 256 << 10

// mailSink hands mail over to a server.
type mailSink struct {
	mail Mail
	tls  *tls.Config
	now  func() time.Time
}

func (s mailSink) send(ctx context.Context, m plumbline.Message) error {
	letter, err := s.letter(m)
	if err != nil {
		return err
	}
	auth := mail.SMTPAuthNoAuth
	if s.mail.Username != "" {
		auth = mail.SMTPAuthPlain
	}
	err = s.hand(ctx, letter, auth)
	if errors.Is(err, mail.ErrPlainAuthNotSupported) { // said before anything was
		err = s.hand(ctx, letter, mail.SMTPAuthLogin)
	}
	return err
}

func (s mailSink) hand(ctx context.Context, letter *mail.Msg, auth mail.SMTPAuthType) error {
	client, err := s.client(ctx, auth)
	if err != nil {
		return err
	}
	talk, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return err
	}
	err = client.SendWithSMTPClient(talk, letter)
	_ = client.CloseWithSMTPClient(talk) // whether it took the letter is known by now
	if letter.IsDelivered() {
		return nil
	}
	var refused *mail.SendError
	if errors.As(err, &refused) && refused.ErrorCode() >= 500 && (refused.Reason == mail.ErrSMTPData || refused.Reason == mail.ErrSMTPDataClose) {
		// The letter itself, not who sends it, nor to whom: those may be put right.
		return invalid{err}
	}
	if err == nil {
		err = errors.New("the mail server did not say that it took the message")
	}
	return err
}

func (s mailSink) client(ctx context.Context, auth mail.SMTPAuthType) (*mail.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.tls != nil {
		config = s.tls.Clone()
	}
	config.ServerName = s.mail.Host
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		deadline, _ := ctx.Deadline()
		conn = &bounds{Conn: conn, deadline: deadline, left: maxTalk}
		if s.mail.TLS != TLSImplicit {
			return conn, nil
		}
		secured := tls.Client(conn, config)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return secured, nil
	}
	options := []mail.Option{
		mail.WithPort(s.mail.Port), mail.WithTLSConfig(config), mail.WithDialContextFunc(dial), mail.WithHELO(helo(s.mail.From)),
		mail.WithSMTPAuth(auth), mail.WithUsername(s.mail.Username), mail.WithPassword(s.mail.Password.Reveal()),
	}
	switch s.mail.TLS {
	case TLSImplicit:
		options = append(options, mail.WithSSL())
	case TLSNone:
		options = append(options, mail.WithTLSPolicy(mail.NoTLS))
	default:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if deadline, ok := ctx.Deadline(); ok {
		options = append(options, mail.WithTimeout(max(time.Until(deadline), time.Millisecond)))
	}
	return mail.NewClient(s.mail.Host, options...)
}

// helo is the name by which this side gives itself: the sender's domain, since the machine's own name is nobody's business.
func helo(from string) string {
	if _, domain, ok := strings.Cut(from, "@"); ok && domain != "" {
		return domain
	}
	return "localhost"
}

func (s mailSink) letter(m plumbline.Message) (*mail.Msg, error) {
	letter := mail.NewMsg(mail.WithNoDefaultUserAgent())
	if err := letter.From(s.mail.From); err != nil {
		return nil, fmt.Errorf("from: %w", plumbline.ErrInvalid)
	}
	if err := letter.To(s.mail.To...); err != nil {
		return nil, fmt.Errorf("to: %w", plumbline.ErrInvalid)
	}
	// What looks like an encoded word would be decoded by whoever shows it.
	letter.Subject("[Plumbline] " + strings.ReplaceAll(m.Title, "=?", "= ?"))
	letter.SetDateWithValue(s.now())
	// The same message has the same ID: a mail system that is handed it twice shows it once.
	sum := sha256.Sum256([]byte(m.Key))
	letter.SetMessageIDWithValue(hex.EncodeToString(sum[:16]) + "@" + helo(s.mail.From))
	letter.SetGenHeader("Auto-Submitted", "auto-generated")
	if m.Severity == plumbline.SeverityCritical || m.Severity == plumbline.SeverityError {
		letter.SetImportance(mail.ImportanceHigh)
	}
	lines := append([]string{m.Title, ""}, m.Lines...)
	if m.Link != "" {
		lines = append(lines, "", m.Link)
	}
	letter.SetBodyString(mail.TypeTextPlain, strings.Join(lines, "\n")+"\n")
	return letter, nil
}

// bounds is a connection on which the other side cannot keep anybody: whatever deadlines are set on it, it ends at its own, and after so many bytes.
type bounds struct {
	net.Conn
	deadline time.Time
	left     int
}

func (b *bounds) cap(t time.Time) time.Time {
	if b.deadline.IsZero() || !t.IsZero() && t.Before(b.deadline) {
		return t
	}
	return b.deadline
}

func (b *bounds) SetDeadline(t time.Time) error      { return b.Conn.SetDeadline(b.cap(t)) }
func (b *bounds) SetReadDeadline(t time.Time) error  { return b.Conn.SetReadDeadline(b.cap(t)) }
func (b *bounds) SetWriteDeadline(t time.Time) error { return b.Conn.SetWriteDeadline(b.cap(t)) }

func (b *bounds) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("the mail server says too much")
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
