package redact

import (
	"encoding/base64"
	"strings"
)

// ownRules are those for what gitleaks has no rule for, or one that fits source code better than logs.
func ownRules() []*rule {
	return []*rule{
		{ID: "named", look: named, Keywords: []string{"password", "passwd", "passphrase", "pwd", "secret", "token", "api_key", "api-key", "apikey",
			"access_key", "access-key", "accesskey", "private_key", "private-key", "privatekey", "account_key", "accountkey", "auth_key",
			"encryption_key", "signing_key", "master_key", "shared_key", "sharedaccesskey", "license_key", "credential", "_pat"}},
		{ID: "pem", look: pemBlock, Keywords: []string{"-----begin "}},
		{ID: "url-password", look: urlPassword, Keywords: []string{"://"}},
		{
			ID: "url-token", Keywords: []string{"://"}, Prefix: true, Reach: 300,
			Regex: `://([0-9A-Za-z_.~%=-]{20,200})@[0-9A-Za-z\[]`, Entropy: 3, valid: hasDigit,
		},
		{
			ID: "authorization", Keywords: []string{"authorization"}, Prefix: true,
			Regex:   `(?i)authorization["'\]]{0,2}\s{0,4}[:=]\s{0,4}["'\[]{0,2}(?:(?:basic|bearer|token|negotiate|ntlm|digest|apikey|aws4-hmac-sha256)\s{1,4})?([^\s"'<>\]\\,;)}&]{8,})`,
			Entropy: 2, valid: isCredential,
		},
		{
			ID: "bearer", Keywords: []string{"bearer"}, Prefix: true, Word: true,
			Regex: `(?i)bearer\s{1,4}([0-9A-Za-z._~+/=-]{16,})`, Entropy: 3, valid: hasDigit,
		},
		{
			ID: "basic", Keywords: []string{"basic"}, Prefix: true, Word: true, Reach: 2 << 10,
			Regex: `(?i)basic\s{1,4}([0-9A-Za-z+/_-]{8,1000}={0,2})`, valid: isUserPassword,
		},
		{
			ID: "registry-auth", Keywords: []string{"auth"}, Prefix: true, Word: true, Reach: 2 << 10,
			Regex: `(?i)auth["']?\s{0,4}[:=]\s{0,4}["']?([0-9A-Za-z+/_-]{8,1000}={0,2})`, valid: isUserPassword,
		},
		{
			ID: "aws-secret-beside-id", Keywords: []string{"akia", "asia"}, Prefix: true, Word: true, Reach: 300,
			Regex: `(?:AKIA|ASIA)[A-Z2-7]{16}[^0-9A-Za-z](?:[\s\S]{0,150}?[^0-9A-Za-z/+])??([0-9A-Za-z/+]{40})(?:[^0-9A-Za-z]|$)`, Entropy: 4.2, valid: isMixed,
		},
		{
			ID: "connection-string", Keywords: []string{"password", "pwd", "accountkey", "sharedaccesskey", "sharedaccesssignature"}, Prefix: true, Reach: 400,
			Regex: `(?i)(?:password|pwd|accountkey|sharedaccesskey|sharedaccesssignature)\s?=\s?([^\s;"'<>]{4,300});`, valid: isPlainValue,
		},
		{
			ID: "dsn", Keywords: []string{"password", "pwd"}, Reach: 700,
			Regex: `(?i)\b(?:host|user|dbname|server|uid|user id)\s?=\s?[^\s;=]{1,100}[\s;][^\n]{0,200}?\b(?:password|pwd)\s?=\s?('[^'\n]{4,200}'|[^\s;'"&<>]{4,200})`, valid: isPlainValue,
		},
		{
			ID: "dsn-after", Keywords: []string{"password"}, Prefix: true, Reach: 700,
			Regex: `(?i)password\s?=\s?('[^'\n]{4,200}'|[^\s;'"&<>]{4,200})[\s;]+(?:host|port|user|dbname|server|uid|sslmode|user id)\s?=`, valid: isPlainValue,
		},
		{
			ID: "curl-user", Keywords: []string{"curl"}, Prefix: true, Word: true,
			Regex: `curl\b.{0,900}?\s(?:-u|--user)[\s=]?["']?[^\s:"']{1,100}:([^\s"']{3,200})`, valid: isPlainValue,
		},
		{ID: "signed-url", Keywords: []string{"x-amz-signature=", "x-goog-signature=", "sig="}, Prefix: true, Word: true, Reach: 900,
			Regex: `(?i)(?:x-amz-signature|x-goog-signature|sig)=([0-9A-Za-z%+/_-]{32,700}={0,2})`, Entropy: 3},
		{ID: "password-hash", Keywords: []string{"$2a$", "$2b$", "$2y$", "$5$", "$6$", "$y$", "$apr1$", "$argon2"}, Prefix: true, Reach: 400,
			Regex: `(?:\$2[aby]\$\d\d\$[./0-9A-Za-z]{53}|\$[56]\$(?:rounds=\d{1,9}\$)?[./0-9A-Za-z]{1,16}\$[./0-9A-Za-z]{43,86}|\$y\$[./0-9A-Za-z]{1,20}\$[./0-9A-Za-z]{1,86}\$[./0-9A-Za-z]{43}|\$apr1\$[./0-9A-Za-z]{1,8}\$[./0-9A-Za-z]{22}|\$argon2(?:id|i|d)\$v=\d+\$m=\d+,t=\d+,p=\d+\$[+/0-9A-Za-z]{8,64}\$[+/0-9A-Za-z]{16,128})`},

		{ID: "atlassian", Keywords: []string{"atatt3", "atctt3"}, Prefix: true, Word: true, Regex: `AT[AC]TT3[0-9A-Za-z_=-]{100,}`},
		{ID: "bitbucket-app-password", Keywords: []string{"atbb"}, Prefix: true, Word: true, Reach: 41, Regex: `ATBB[0-9A-Za-z]{24,32}(?:[^0-9A-Za-z]|$)`, Entropy: 3},
		{ID: "google-oauth", Keywords: []string{"ya29."}, Prefix: true, Word: true, Regex: `ya29\.[0-9A-Za-z_-]{20,}`, Entropy: 3},
		{ID: "google-client-secret", Keywords: []string{"gocspx-"}, Prefix: true, Word: true, Reach: 35, Regex: `GOCSPX-[0-9A-Za-z_-]{28}`},
		{ID: "google-refresh-token", Keywords: []string{"1//0"}, Prefix: true, Word: true, Regex: `1//0[0-9A-Za-z_-]{40,}`, Entropy: 3.5},
		{ID: "azure-client-secret", Keywords: []string{"q~"}, Reach: 50,
			Regex: `(?:^|[^0-9A-Za-z_~.-])([0-9A-Za-z_~.-]{3}\dQ~[0-9A-Za-z_~.-]{31,34})(?:[^0-9A-Za-z_~-]|$)`, Entropy: 3},
		{ID: "azure-storage-key", Keywords: []string{"=="}, Reach: 100, Regex: `(?:^|[^0-9A-Za-z+/])([0-9A-Za-z+/]{76}\+ASt[0-9A-Za-z+/]{6}==)`},
		{ID: "teams-webhook", Keywords: []string{".webhook.office.com/"}, Prefix: true, Reach: 500, Regex: `(?i)\.webhook\.office\.com/([\w-]{6,20}/[0-9a-z@/_-]{60,400})`},
		{ID: "discord-webhook", Keywords: []string{"/api/webhooks/"}, Prefix: true, Reach: 200, Regex: `/api/webhooks/\d{15,22}/([\w-]{60,90})`},
		{ID: "docker-token", Keywords: []string{"dckr_"}, Prefix: true, Word: true, Regex: `dckr_[po]at_[0-9A-Za-z_-]{20,}`},
		{ID: "sourcegraph", Keywords: []string{"sgp_"}, Prefix: true, Word: true, Reach: 64, Regex: `sgp_(?:(?:[0-9a-fA-F]{16}|local)_)?[0-9a-fA-F]{40}`},
		{ID: "stripe-webhook", Keywords: []string{"whsec_"}, Prefix: true, Word: true, Regex: `whsec_[0-9A-Za-z+/]{24,}={0,2}`},
		{ID: "telegram-bot", Keywords: []string{":aa"}, Reach: 48, Regex: `\b\d{8,10}:AA[0-9A-Za-z_-]{33}(?:[^0-9A-Za-z_-]|$)`, Entropy: 3.5},
		{ID: "new-relic", Keywords: []string{"nrak-", "nrii-"}, Prefix: true, Word: true, Reach: 40, Regex: `(?:NRAK-[0-9A-Z]{27}|NRII-[0-9A-Za-z_-]{32})`},
		{ID: "mailgun", Keywords: []string{"key-"}, Prefix: true, Word: true, Reach: 38, Regex: `key-[0-9a-f]{32}(?:[^0-9A-Za-z]|$)`, Entropy: 3},
		{ID: "typeform", Keywords: []string{"tfp_"}, Prefix: true, Word: true, Reach: 63, Regex: `tfp_[0-9A-Za-z_.=-]{40,59}`},
		{ID: "bedrock", Keywords: []string{"bedrock-api-key-"}, Prefix: true, Regex: `bedrock-api-key-[0-9A-Za-z+/=_-]{20,}`},
		{ID: "yandex", Keywords: []string{"aqvn"}, Prefix: true, Word: true, Reach: 43, Regex: `AQVN[0-9A-Za-z_-]{35,38}`, Entropy: 3.5},
		{ID: "plaid", Keywords: []string{"access-"}, Prefix: true, Word: true, Reach: 60,
			Regex: `access-(?:sandbox|development|production)-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`},
	}
}

var (
	placeholder = lazy(`^(?:\$\{?.*\}?|\{\{.*\}\}|<.*|%[a-z]|\*+|\[.*\])$`)
	hexOnly     = lazy(`^[0-9a-fA-F]+$`)
)

// isPlainValue reports whether v is a value and no reference to one.
func isPlainValue(v string) bool {
	v = v[:min(len(v), maxJudged)]
	return !placeholder().MatchString(v) && len(meant(strings.Trim(v, "'"))) >= MinLen
}

// userinfo is greedy, so that an unescaped @ in a password is part of it.
var userinfo = lazy(`\A://[^\s/?#@:"'<>\\]{0,100}:([^\s/?#"'<>]{1,400})@`)

// urlPassword finds the password of a URL. An image that is pinned by its digest has none: docker://nginx:1.27@sha256:….
func urlPassword(text string, at span) []span {
	text = text[:min(len(text), at.start+600)]
	m := userinfo().FindStringSubmatchIndex(text[at.start:])
	if m == nil {
		return nil
	}
	found, rest := span{at.start + m[2], at.start + m[3]}, text[at.start+m[1]:]
	if strings.HasPrefix(rest, "sha256:") || strings.HasPrefix(rest, "sha512:") {
		return nil
	}
	value := text[found.start:found.end]
	decoded, _ := unescape(value+";", false) // another reading sees where a <password> in HTML ends
	if placeholder().MatchString(value) || placeholder().MatchString(strings.TrimSuffix(decoded.text, ";")) {
		return nil
	}
	return []span{found}
}

func hasDigit(v string) bool { return strings.ContainsAny(v, "0123456789") }

// isCredential: "authorization: required" is a word.
func isCredential(v string) bool { return isPlainValue(v) && guess(v) }

// isMixed: forty hexadecimal digits are a commit.
func isMixed(v string) bool { return hasMixedCase(v) && hasDigit(v) && !hexOnly().MatchString(v) }

// isUserPassword reports whether v is base64 of a user's name and a password.
func isUserPassword(v string) bool {
	b, err := base64.RawStdEncoding.DecodeString(strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(v, "=")))
	if err != nil {
		return false
	}
	user, password, ok := strings.Cut(string(b), ":")
	return ok && user != "" && password != "" && !strings.ContainsFunc(user, func(r rune) bool { return r < ' ' || r > '~' }) && !strings.ContainsFunc(password, func(r rune) bool { return r < ' ' || r == 0xFFFD })
}
