// Package certificate reads a server's TLS certificate from files, and again
// when they have changed.
package certificate

import (
	"crypto/tls"
	"log/slog"
	"os"
	"sync"
	"time"
)

// look is how long the files are taken not to have changed.
const look = time.Second

// Files are a certificate and its key.
type Files struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	of      version // that current was made of
	refused version // that no certificate could be made of, said once
	looked  time.Time
}

// A version is how the files stood at a moment.
type version struct {
	cert, key stamp
}

type stamp struct {
	modified time.Time
	size     int64
}

// Load reads the files, PEM. They are looked at again while the certificate is
// used, so that a renewed one needs no restart. Log says when it has changed;
// it may be nil where the certificate is not used.
func Load(certFile, keyFile string, log *slog.Logger) (*Files, error) {
	f := &Files{certFile: certFile, keyFile: keyFile, log: log, looked: time.Now()}
	var err error
	if f.of, err = f.version(); err != nil {
		return nil, err
	}
	f.current, err = f.read()
	return f, err
}

func (f *Files) read() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
	if err != nil {
		return nil, err
	}
	return &pair, nil
}

func (f *Files) version() (v version, err error) {
	if v.cert, err = stampOf(f.certFile); err != nil {
		return v, err
	}
	v.key, err = stampOf(f.keyFile)
	return v, err
}

func stampOf(file string) (stamp, error) {
	info, err := os.Stat(file)
	if err != nil {
		return stamp{}, err
	}
	return stamp{modified: info.ModTime(), size: info.Size()}, nil
}

// Get is the certificate as the files have it. While they cannot be used, as
// when only one of them is renewed yet, it stays what it was.
func (f *Files) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); now.Sub(f.looked) >= look {
		f.looked = now
		f.refresh()
	}
	return f.current, nil
}

func (f *Files) refresh() {
	now, err := f.version()
	if err == nil && now == f.of {
		return
	}
	var renewed *tls.Certificate
	if err == nil {
		renewed, err = f.read()
	}
	if err != nil {
		if f.refused != now {
			f.refused = now
			f.log.Warn("the renewed TLS certificate cannot be used, the one before stays", "error", err)
		}
		return
	}
	f.current, f.of = renewed, now
	f.log.Info("TLS certificate renewed", "until", renewed.Leaf.NotAfter)
}

// Config is TLS with this certificate.
func (f *Files) Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: f.Get}
}
