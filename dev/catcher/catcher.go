// Package catcher is a mail server that keeps every mail instead of passing it
// on, and shows it on a page and as JSON.
package catcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

// MaxMessageBytes is the largest mail that is taken.
const MaxMessageBytes = 10 << 20

// DefaultCapacity is how many mails are held before the oldest are dropped.
const DefaultCapacity = 200_000

// A Config says where a catcher listens and keeps its mails.
type Config struct {
	Dir      string // of the mails; made if missing
	SMTPAddr string // host:port; port 0 takes a free one
	HTTPAddr string
	Capacity int // mails held; at least three quarters of it are; 0 stands for DefaultCapacity
	Logger   *slog.Logger
}

// A Catcher is a running mail server with its page.
type Catcher struct {
	spool    *spool
	smtp     *smtp.Server
	http     *http.Server
	smtpAddr string
	httpAddr string
	logger   *slog.Logger
	serving  sync.WaitGroup
	stopping sync.Once
}

// Start reads the mails kept in the folder and listens.
func Start(config Config) (*Catcher, error) {
	if config.Capacity == 0 {
		config.Capacity = DefaultCapacity
	}
	spool, err := openSpool(config.Dir, config.Capacity)
	if err != nil {
		return nil, err
	}
	c := &Catcher{spool: spool, logger: config.Logger}
	smtpListener, err := net.Listen("tcp", config.SMTPAddr)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for mail: %w", err), spool.close())
	}
	httpListener, err := net.Listen("tcp", config.HTTPAddr)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for the mail page: %w", err), smtpListener.Close(), spool.close())
	}
	c.smtpAddr, c.httpAddr = smtpListener.Addr().String(), httpListener.Addr().String()
	c.smtp = newSMTPServer(spool, config.Logger)
	c.http = &http.Server{
		Handler:           newHandler(spool, config.Logger),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(config.Logger.Handler(), slog.LevelWarn),
	}
	c.serving.Go(func() { c.log(c.smtp.Serve(smtpListener)) })
	c.serving.Go(func() { c.log(c.http.Serve(httpListener)) })
	return c, nil
}

// log tells why a server ended, unless it was closed.
func (c *Catcher) log(err error) {
	if err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, smtp.ErrServerClosed) {
		c.logger.Error("the mail catcher stopped serving", slog.Any("error", err))
	}
}

// SMTPAddr is the host:port that takes mail.
func (c *Catcher) SMTPAddr() string { return c.smtpAddr }

// HTTPAddr is the host:port of the page and the JSON.
func (c *Catcher) HTTPAddr() string { return c.httpAddr }

// Stop ends all connections, letting HTTP requests in flight finish until ctx
// ends, and closes the files. A second Stop does nothing.
func (c *Catcher) Stop(ctx context.Context) (err error) {
	c.stopping.Do(func() {
		err = errors.Join(c.smtp.Close(), c.http.Shutdown(ctx))
		_ = c.http.Close() // what is left after ctx
		c.serving.Wait()
		err = errors.Join(err, c.spool.close())
	})
	return err
}
