// Package stack starts and stops what Belfry needs on one machine: Temporal,
// MongoDB, RabbitMQ, a mail catcher, the idp, and Belfry itself.
package stack

import (
	"fmt"
	"io"
	"path/filepath"
	"time"
)

// How long things may take.
const (
	startDeadline = 3 * time.Minute // for each engine to be ready
	stopDeadline  = 9 * time.Second // for all of it to end
)

// A Config says what to start, and where.
type Config struct {
	Root   string // the project's folder; the others are relative to it
	Data   string // what is kept between runs
	Belfry string // the belfry binary
	Users  string // the file of the idp's users

	Ports   Ports
	Persist bool // Temporal on file; in memory otherwise
	UI      bool // Temporal's UI
	Broker  Broker

	belfry bool // Belfry runs too

	Environ []string  // the environment given, as os.Environ
	Out     io.Writer // for people
}

// Ports are where everything listens, on 127.0.0.1.
type Ports struct {
	HTTP       int `name:"http-port" env:"BELFRY_DEV_HTTP_PORT" default:"8080" help:"Belfry's API."`
	Temporal   int `name:"temporal-port" env:"BELFRY_DEV_TEMPORAL_PORT" default:"7233" help:"Temporal."`
	TemporalUI int `name:"temporal-ui-port" env:"BELFRY_DEV_TEMPORAL_UI_PORT" default:"8233" help:"Temporal's UI."`
	Mongo      int `name:"mongo-port" env:"BELFRY_DEV_MONGO_PORT" default:"27017" help:"MongoDB (FerretDB)."`
	SMTP       int `name:"smtp-port" env:"BELFRY_DEV_SMTP_PORT" default:"1025" help:"The mail catcher."`
	Mail       int `name:"mail-port" env:"BELFRY_DEV_MAIL_PORT" default:"8025" help:"The page that shows the mail."`
	AMQP       int `name:"amqp-port" env:"BELFRY_DEV_AMQP_PORT" default:"5672" help:"RabbitMQ."`
	IDP        int `name:"idp-port" env:"BELFRY_DEV_IDP_PORT" default:"50051" help:"The idp."`
	OIDC       int `name:"oidc-port" env:"BELFRY_DEV_OIDC_PORT" default:"9080" help:"The sample OIDC issuer."`

	// Nobody needs to know these. 0: another one each time, without Management.
	Epmd       int `kong:"-"` // Erlang's, for RabbitMQ alone
	ErlangDist int `kong:"-"` // how RabbitMQ's nodes would talk
	Management int `kong:"-"` // RabbitMQ's HTTP API
}

// address is where a port is on this machine.
func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// path is a file or folder of the configuration, made absolute.
func (c *Config) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.Root, name)
}

// data is a file or folder in the data folder.
func (c *Config) data(elements ...string) string {
	return filepath.Join(append([]string{c.path(c.Data)}, elements...)...)
}
