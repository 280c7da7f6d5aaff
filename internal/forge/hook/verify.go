package hook

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// mark is what makes a delivery that one: something that only the forge can make another of, wherever there is such a thing.
type mark [sha256.Size]byte

// signature is a header with an HMAC-SHA256 of the raw body in hexadecimal, behind a prefix.
type signature struct{ header, prefix string }

// signedBody verifies by the first of these headers that is there. A bad one is not made good by another. They are documented at
//
//   - https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries (X-Hub-Signature-256; X-Hub-Signature is SHA-1 there)
//   - https://docs.gitea.com/usage/webhooks and https://forgejo.org/docs/latest/user/webhooks/ (each sends its predecessors' headers too)
//   - https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/ (X-Hub-Signature, whose prefix names the algorithm)
//
// None of them signs a time or the delivery's id: what tells two deliveries apart is the signature itself.
func signedBody(accepted ...signature) func(keys, http.Header, []byte, time.Time) (mark, error) {
	return func(k keys, h http.Header, body []byte, _ time.Time) (mark, error) {
		for _, s := range accepted {
			given := h.Get(s.header)
			if given == "" {
				continue
			}
			coded, ok := strings.CutPrefix(given, s.prefix)
			sum, err := hex.DecodeString(coded)
			if !ok || err != nil || len(sum) != sha256.Size {
				return mark{}, denied("%s holds no HMAC-SHA256", s.header)
			}
			fits := false
			for _, key := range k.plain {
				fits = hmac.Equal(sum, sign([]byte(key), body)) || fits
			}
			if !fits {
				return mark{}, denied("%s was made with another secret", s.header)
			}
			return mark(sum), nil
		}
		return mark{}, denied("it is not signed: no %s", accepted[0].header)
	}
}

func sign(key []byte, message ...[]byte) []byte {
	m := hmac.New(sha256.New, key)
	for _, part := range message {
		m.Write(part)
	}
	return m.Sum(nil)
}

// verifyGitLab goes by the signature where the webhook has a signing token that is configured here, else by the secret token
// (https://docs.gitlab.com/user/project/integrations/webhooks/). Who is configured with a signing token alone needs no secret token.
func verifyGitLab(k keys, h http.Header, body []byte, now time.Time) (mark, error) {
	if len(k.signing) > 0 && (h.Get("Webhook-Signature") != "" || len(k.plain) == 0) {
		return verifyStandard(k.signing, h, body, now)
	}
	if !isOneOf(k.plain, h.Get("X-Gitlab-Token")) {
		return mark{}, denied("X-Gitlab-Token is missing, or another")
	}
	// Whoever has the token can write anything. The id tells repetitions of the forge's own: the body of two pushes can be the same.
	return hash([]byte(first(h, "Idempotency-Key", "X-Gitlab-Event-Uuid")), []byte{0}, body), nil
}

// isOneOf compares without telling by its time how much of a secret was right, or how long it is.
func isOneOf(secrets []string, given string) bool {
	sum, equal := sha256.Sum256([]byte(given)), 0
	for _, s := range secrets {
		want := sha256.Sum256([]byte(s))
		equal |= subtle.ConstantTimeCompare(sum[:], want[:])
	}
	return equal == 1
}

func hash(parts ...[]byte) mark { return sha256.Sum256(bytes.Join(parts, nil)) }

// maxSignatures bounds the list of signatures in one header: more than a webhook has keys while they are exchanged.
const maxSignatures = 16

// verifyStandard verifies a signature over id, time and body
// (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md, "Signature scheme").
func verifyStandard(signing [][]byte, h http.Header, body []byte, now time.Time) (mark, error) {
	id, at := h.Get("Webhook-Id"), h.Get("Webhook-Timestamp")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if id == "" || err != nil {
		return mark{}, denied("webhook-id or webhook-timestamp is missing, or is none")
	}
	list := strings.Fields(h.Get("Webhook-Signature"))
	if len(list) == 0 || len(list) > maxSignatures {
		return mark{}, denied("webhook-signature holds %d signatures", len(list))
	}
	fits := false
	for _, key := range signing {
		want := sign(key, []byte(id), []byte("."), []byte(at), []byte("."), body)
		for _, s := range list {
			coded, ok := strings.CutPrefix(s, "v1,")
			given, err := base64.StdEncoding.DecodeString(coded)
			fits = (ok && err == nil && hmac.Equal(given, want)) || fits
		}
	}
	if !fits {
		return mark{}, denied("webhook-signature was made with another signing token")
	}
	// Whole seconds are compared: the difference of two times saturates, and this one can be anything.
	if ago := now.Unix() - seconds; seconds < 0 || ago > int64(tolerance/time.Second) || ago < -int64(tolerance/time.Second) {
		return mark{}, denied("webhook-timestamp is more than %s from now; is the clock right?", tolerance)
	}
	return hash([]byte(id)), nil
}
