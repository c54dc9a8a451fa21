package config

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/certificate"
	"github.com/belfry-notify/belfry/internal/codec"
)

// Limits say how much may be asked of the API, and how it is reached.
type Limits struct {
	RateLimit      Requests       // RATE_LIMIT, of one caller
	MaxRequests    int            // MAX_REQUESTS, at a time
	TrustedProxies []netip.Prefix // TRUSTED_PROXIES
	TLSCertFile    string         // TLS_CERT_FILE, empty: no TLS
	TLSKeyFile     string         // TLS_KEY_FILE
}

// Requests are how many may come in a stretch of time; zero: any number.
type Requests struct {
	Count int
	Per   time.Duration
}

// A Codec is how Temporal's payloads are encrypted, and the server that
// decrypts them for people.
type Codec struct {
	Keys    codec.Keys // PAYLOAD_KEYS
	Addr    string     // CODEC_ADDR
	Origins []string   // CODEC_ORIGINS, by default that of TEMPORAL_UI_URL
	Token   string     // CODEC_TOKEN

	OIDC *access.OIDCConfig // where AUTH names oidc: whose tokens a codec server lets in too
}

func (l *loader) limits() Limits {
	a := Limits{
		RateLimit:      l.requests("RATE_LIMIT"),
		MaxRequests:    l.number("MAX_REQUESTS", 256, 1, 100_000),
		TrustedProxies: l.prefixes("TRUSTED_PROXIES"),
		TLSCertFile:    l.text("TLS_CERT_FILE", ""),
		TLSKeyFile:     l.text("TLS_KEY_FILE", ""),
	}
	switch {
	case a.TLSCertFile == "" && a.TLSKeyFile == "":
	case a.TLSCertFile == "":
		l.fail("TLS_CERT_FILE", "is needed where BELFRY_TLS_KEY_FILE is set")
	case a.TLSKeyFile == "":
		l.fail("TLS_KEY_FILE", "is needed where BELFRY_TLS_CERT_FILE is set")
	default:
		if _, err := certificate.Load(a.TLSCertFile, a.TLSKeyFile, nil); err != nil {
			l.fail("TLS_CERT_FILE", "no certificate and key can be had of this file and that of BELFRY_TLS_KEY_FILE: %v", withoutName(err))
		}
	}
	return a
}

func (l *loader) codec(uiURL string) Codec {
	c := Codec{
		Addr:    l.address("CODEC_ADDR", "127.0.0.1:8234"),
		Origins: l.origins("CODEC_ORIGINS", uiURL),
		Token:   l.text("CODEC_TOKEN", ""),
	}
	if keys := l.text("PAYLOAD_KEYS", ""); keys != "" {
		var err error
		if c.Keys, err = codec.ParseKeys(keys); err != nil {
			l.fail("PAYLOAD_KEYS", "%v", err)
		}
	}
	return c
}

// requests reads "100/s", "100/m" or "100/h", in whole requests.
func (l *loader) requests(name string) Requests {
	v := l.text(name, "")
	if v == "" {
		return Requests{}
	}
	number, unit, _ := strings.Cut(v, "/")
	n, err := strconv.Atoi(number)
	per, known := periods[unit]
	if err != nil || n < 1 || n > 1_000_000_000 || !known {
		l.fail(name, "not a rate of whole requests such as 100/s or 5000/m")
	}
	return Requests{Count: n, Per: per}
}

// prefixes reads a list of networks, separated by commas; an address is the
// network of it alone.
func (l *loader) prefixes(name string) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, v := range l.list(name) {
		prefix, err := netip.ParsePrefix(v)
		if addr, wrong := netip.ParseAddr(v); err != nil && wrong == nil && addr.Zone() == "" {
			prefix, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			l.fail(name, "%s is not a network such as 10.0.0.0/8", l.quote(name, v))
		}
		prefixes = append(prefixes, prefix.Masked())
	}
	return prefixes
}

// origins reads a list of origins (RFC 6454), separated by commas, such as a
// browser says that a page is of; by default that of a URL.
func (l *loader) origins(name, of string) []string {
	given := l.list(name)
	if given == nil && of != "" {
		if u, err := url.Parse(of); err == nil {
			return []string{u.Scheme + "://" + u.Host}
		}
	}
	for _, v := range given {
		u, err := url.Parse(v)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || v != u.Scheme+"://"+u.Host {
			l.fail(name, "not a list of origins such as https://temporal.example.com, separated by commas")
		}
	}
	return given
}

// list reads values separated by commas; nil where there is none.
func (l *loader) list(name string) []string {
	text := l.text(name, "")
	if text == "" {
		return nil
	}
	var values []string
	for v := range strings.SplitSeq(text, ",") {
		values = append(values, strings.TrimSpace(v))
	}
	return values
}
