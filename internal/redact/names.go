package redact

import (
	"net/netip"
	"slices"
	"strings"
	"unicode"
)

// SecretName reports whether a variable or attribute of this name is likely to hold a secret, by the words that it is made of: PASSWORD, PASSWD,
// PASSPHRASE, SECRET, TOKEN or CREDENTIALS anywhere, KEY or PAT at the end. Words are told apart by underscores, dashes, dots and camelCase;
// capitals do not matter otherwise.
//
// A name that ends by saying that it is something else says no: *_ID, *_NAME, *_ARN, *_URL, *_FILE, *_POLICY. So AWS_ACCESS_KEY_ID says no:
// it names a key, as a user's name does, and people need it to tell which. (What it holds still has the shape of an access key, and is masked
// by a Masker that has [Masker.WithShapes].) Nor do keys that are public or no keys to anything: public_key, kms_key, partition_key, cache_key.
//
// A name decides nothing by itself: ask [SecretValue] about the value.
func SecretName(name string) bool { return confidence(name) > 0 }

const (
	perhaps = 1 // *_key, of which many are none
	surely  = 2
)

func wordSet(s string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(s) {
		set[w] = true
	}
	return set
}

var (
	// What stands at the end of a name and does not change what it is: private_key_pem, SECRET_VALUE, PASSWORD_2, client_key_data.
	wrapping = wordSet("pem base64 b64 value values data json content contents string str text plaintext raw encoded default new old current prod production staging dev test")
	// What stands at the end of a name and makes it the name of something else.
	about = wordSet(`id ids name names arn arns url urls uri endpoint host hostname port path paths file files filename dir directory type kind
		alias aliases length len size min max ttl expiry expires expiration expiry days hours seconds minutes timeout age period version versions
		stage count number enabled enable required policy policies rotation description label labels tag tags prefix suffix format algo algorithm
		hash fingerprint checksum digest usage spec manager store engine backend ref refs reference status state user username users
		owner group issuer audience scope scopes pair validity source provider providers duration created updated date time at by mode rule rules attribute attributes field header`)
	// One of these anywhere makes a secret of it.
	secretWords = wordSet("password passwords passwd passphrase passphrases passcode secret secrets credential credentials creds apikey authtoken accesstoken secretkey privatekey accesskey")
	// So does one of these at the end of a word that is written as one.
	secretEnds = []string{"password", "passwd", "passphrase", "secret", "token", "apikey", "secretkey", "privatekey", "accesskey"}
	// Before "key", these say what it opens, or that it is a key to nothing.
	keyToSomething = wordSet("api access secret private auth authentication authorization encryption decryption signing signature master account storage client license deploy deployment session shared preshared psk app application service admin root webhook write read ingest ingestion integration subscription jwt hmac aes rsa tls ssl")
	keyToNothing   = wordSet("public pub publishable partition sort hash range primary foreign unique natural surrogate composite candidate kms cmk cache object bucket s3 index tag tags label map lookup event idempotency group order routing row column shard distribution registry column state lock host known verification pgp gpg annotation config metric dimension join")
	// Before "token": names of a request, or of a page of a listing.
	tokenOfNothing = wordSet("creation client request idempotency idempotent next continuation continue pagination page nextpage start starting resume max csrf xsrf sync clientrequest task")
)

// confidence says how sure the name makes it that its value is a secret: not at all, perhaps, surely.
func confidence(name string) int {
	words := nameWords(name)
	if all := strings.Join(words, " "); strings.HasSuffix(all, "connection string") || strings.HasSuffix(all, "connection str") {
		return surely
	}
	for len(words) > 1 && (wrapping[words[len(words)-1]] || strings.Trim(words[len(words)-1], "0123456789") == "") {
		words = words[:len(words)-1]
	}
	if len(words) == 0 {
		return 0
	}
	last := words[len(words)-1]
	if about[last] {
		return 0
	}
	if word := strings.TrimRight(last, "0123456789"); word != "" { // PASSWORD2
		last, words[len(words)-1] = word, word
	}
	before := ""
	if len(words) > 1 {
		before = words[len(words)-2]
	}
	switch last {
	case "key", "keys":
		if keyToNothing[before] || slices.Contains(words, "public") || slices.Contains(words, "kms") {
			return 0
		}
		if keyToSomething[before] {
			return surely
		}
	case "token", "tokens":
		if tokenOfNothing[before] {
			return 0
		}
	}
	for i, w := range words {
		switch {
		case secretWords[w], w == "pwd" && len(words) > 1, w == "token",
			w == "key" && i > 0 && (words[i-1] == "api" || words[i-1] == "private"),
			slices.ContainsFunc(secretEnds, func(end string) bool { return strings.HasSuffix(w, end) }):
			return surely
		}
	}
	switch {
	case len(words) == 1:
		return 0 // key: of an object in a bucket, most of the time
	case last == "pat", last == "tokens":
		return surely
	case last == "key", last == "keys", strings.Join(words, " ") == "docker auth config":
		return perhaps
	}
	return 0
}

// nameWords returns the words of a name in small letters: DB_PASSWORD, dbPassword and db-password have the same, APIKey those of api_key.
func nameWords(name string) []string {
	var words []string
	begin := 0
	cut := func(end int) {
		if end > begin {
			words = append(words, strings.ToLower(name[begin:end]))
		}
		begin = end
	}
	for i := range len(name) {
		c := rune(name[i])
		switch {
		case !unicode.IsLetter(c) && !unicode.IsDigit(c):
			cut(i)
			begin = i + 1
		case i > begin && isUpper(name[i]) && (!isUpper(name[i-1]) || i+1 < len(name) && isLower(name[i+1])):
			cut(i)
		}
	}
	cut(len(name))
	return words
}

func isUpper(c byte) bool { return c >= 'A' && c <= 'Z' }
func isLower(c byte) bool { return c >= 'a' && c <= 'z' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// MinValue is the length in bytes of the shortest value that [SecretValue] finds worth masking.
const MinValue = 8

var (
	commonValues = wordSet(`changeme disabled required optional password passwords username production development staging internal external
		default defaults localhost postgres postgresql mariadb database administrator terraform opentofu plumbline kubernetes container
		sensitive undefined unspecified unchanged generated automatic anonymous available encrypted plaintext anything whatever example
		https://example.com sqlserver cloudflare cloudwatch digitalocean dynamodb unlimited notempty placeholder redacted secretsmanager
		environment service-account managed-identity rotation-enabled`)
	hostPort = lazy(`^[a-zA-Z0-9_-]+(?:\.[a-zA-Z0-9_-]+)+(?::\d{1,5})?$`)
	ordinary = lazy("^(?:" + strings.Join([]string{ // one anchor for all: with one each, the matcher would go through all of a long text
		`[a-z]{2}(?:-(?:gov|iso[a-z]?))?-[a-z]+-\d[a-z]?$`,               // a region
		`\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d[\d:.]*(?:Z|[+-]\d\d:?\d\d)?)?$`, // a time
		`(?:\d+(?:\.\d+)?(?:ns|us|ms|h|m|s|d))+$`,                        // a duration
		`(?i:sha(?:1|224|256|384|512)|md5|h1|zh)[:-]`,                    // a digest
		`(?:\$+\{.*\}|\{\{.*\}\}|\$?\(.*\)|<.*>)$`,                       // a reference
		`\$[A-Za-z_]\w*$`, `%[A-Za-z_]+%$`, // a variable
		`\*+$`, // a mask
		`(?:ssh-(?:rsa|dss|ed25519)|ecdsa-sha2-|sk-(?:ssh|ecdsa)-)`, // a public key
		`-----BEGIN (?:[A-Z ]*PUBLIC KEY|CERTIFICATE)`,
	}, "|") + ")")
)

// SecretValue reports whether a value found under a name of which [SecretName] says yes is worth masking wherever it stands: it has at least
// [MinValue] bytes and is nothing that ordinary text is full of, such as a word, a number, an ARN, a path, a region or a URL without
// credentials.
func SecretValue(v string) bool {
	v = strings.Trim(v, blanks)
	if len(v) < MinValue || commonValues[strings.ToLower(v)] {
		return false
	}
	if strings.Trim(v, "0123456789.,:_+-/ eE") == "" { // numbers, versions, dates, lists of them
		return false
	}
	if strings.HasPrefix(v, "arn:") || ordinary().MatchString(v) {
		return false
	}
	if _, rest, ok := strings.Cut(v, "://"); ok {
		authority, _, _ := strings.Cut(rest, "/")
		user, _, ok := strings.Cut(authority, "@")
		return ok && strings.Contains(user, ":")
	}
	return !isAddress(v) && !isPath(v) && !isHost(v)
}

// isAddress reports whether v is an IP address or a range of them.
func isAddress(v string) bool {
	if !strings.ContainsAny(v, ".:") {
		return false // without the errors of the parsers
	}
	_, err := netip.ParsePrefix(v)
	if err != nil {
		_, err = netip.ParseAddr(v)
	}
	return err == nil
}

// isPath reports whether v is a path in a file system, or in the manner of one: alias/app, prod/db/master.
func isPath(v string) bool {
	if !strings.Contains(v, "/") || strings.ContainsAny(v, " \t\n+=") {
		return false
	}
	for part := range strings.SplitSeq(v, "/") {
		if part != "" && part != "~" && !isIdentifier(part) {
			return false
		}
	}
	return true
}

// isHost reports whether v is a host's name, perhaps with a port.
func isHost(v string) bool {
	if !strings.Contains(v, ".") || !hostPort().MatchString(v) {
		return false
	}
	name, _, _ := strings.Cut(v, ":")
	for part := range strings.SplitSeq(name, ".") {
		if !isIdentifier(part) {
			return false
		}
	}
	return true
}

// isIdentifier reports whether v reads like something that somebody named: words and numbers with separators between, db-master-2,
// TerraformState. What was made by chance changes from letters to digits more often.
func isIdentifier(v string) bool {
	for part := range strings.FieldsFuncSeq(v, func(r rune) bool { return strings.ContainsRune("-_./:@ ", r) }) {
		if len(part) <= 3 {
			continue
		}
		letters := strings.TrimRight(part, "0123456789")
		digits := len(part) - len(letters)
		if len(letters) > 8 && manyCapitals(letters) || digits > 8 || len(letters) > 0 && digits > 4 {
			return false
		}
		for i := range len(letters) {
			if !isUpper(letters[i]) && !isLower(letters[i]) {
				return false
			}
		}
	}
	return true
}

// manyCapitals reports whether s begins more words than one in five letters: ResourceExistsException has two more in 23, and what was made by chance
// about six.
func manyCapitals(s string) bool {
	words := 0
	for i := 1; i < len(s); i++ {
		if isUpper(s[i]) && isLower(s[i-1]) {
			words++
		}
	}
	return 5*words > len(s)
}

func hasMixedCase(s string) bool {
	return strings.ToLower(s) != s && strings.ToUpper(s) != s
}
