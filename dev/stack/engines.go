package stack

import (
	"context"
	"errors"
)

// Variables that say where an engine is. One that is given is used, and that
// engine is not started.
const (
	envHTTP       = "BELFRY_HTTP_ADDR"
	envMongo      = "BELFRY_MONGO_URI"
	envSMTP       = "BELFRY_SMTP_URL"
	envIDP        = "BELFRY_IDP_ADDR"
	envAMQP       = "BELFRY_AMQP_URL"
	envTemporal   = "TEMPORAL_ADDRESS"
	envTemporalUI = "BELFRY_TEMPORAL_UI_URL"
	envAuth       = "BELFRY_AUTH"
	envKey        = "BELFRY_KEY" // with which the template is made
	envIssuer     = "BELFRY_OIDC_ISSUER"
	envAudience   = "BELFRY_OIDC_AUDIENCE"
	envCatcher    = "BELFRY_TEST_CATCHER"  // the mail page, for tests
	envRabbitMQ   = "BELFRY_TEST_RABBITMQ" // RabbitMQ's HTTP API, for tests
)

// An engine is a part of the stack that others need.
type engine struct {
	name     string
	variable string // that gives one which runs already
	start    func(context.Context) error
	where    func() string // once it has started
}

// engines lists the parts that are not given.
func (s *Stack) engines() []engine {
	ports := s.config.Ports
	all := []engine{
		{"Temporal", envTemporal, s.startTemporal, func() string {
			if s.config.UI {
				return address(ports.Temporal) + ", UI http://" + address(ports.TemporalUI)
			}
			return address(ports.Temporal)
		}},
		{"MongoDB (FerretDB)", envMongo, s.startFerret, func() string { return s.ferret.Addr() }},
		{"mail catcher", envSMTP, s.startCatcher, func() string {
			return s.catcher.SMTPAddr() + ", page http://" + s.catcher.HTTPAddr()
		}},
		{"idp", envIDP, s.startIDP, func() string {
			if s.isIssuer() {
				return address(ports.IDP) + ", OIDC " + s.issuer()
			}
			return address(ports.IDP)
		}},
	}
	if s.broker.server != "" {
		all = append(all, engine{"RabbitMQ", envAMQP, s.startRabbitMQ, func() string {
			return address(ports.AMQP)
		}})
	}
	given := environ(s.config.Environ)
	var wanted []engine
	for _, e := range all {
		if !given.given(e.variable) {
			wanted = append(wanted, e)
		}
	}
	return wanted
}

// offers is the environment for Belfry: our engines where none was given.
func (s *Stack) offers() environ {
	given, ports := environ(s.config.Environ), s.config.Ports
	env := given.
		offer(envHTTP, address(ports.HTTP)).
		offer(envMongo, "mongodb://"+address(ports.Mongo)+"/belfry").
		offer(envIDP, address(ports.IDP)).
		offer(envTemporal, address(ports.Temporal)).
		offer(envAuth, "none")
	if s.isIssuer() {
		env = env.offer(envIssuer, s.issuer()).offer(envAudience, "belfry")
	}
	if !given.given(envSMTP) {
		env = env.offer(envSMTP, "smtp://"+address(ports.SMTP)).
			offer(envCatcher, "http://"+address(ports.Mail))
	}
	if s.broker.url != "" {
		env = env.offer(envAMQP, s.broker.url)
	}
	if s.broker.server != "" && ports.Management != 0 {
		env = env.offer(envRabbitMQ, s.managementURL())
	}
	if !given.given(envTemporal) && s.config.UI {
		env = env.offer(envTemporalUI, "http://"+address(ports.TemporalUI))
	}
	return env
}

// check looks for what would keep the stack from starting, before it starts
// anything.
func (s *Stack) check() error {
	var errs []error
	var listeners []listener
	ports, needBelfry := s.config.Ports, s.config.belfry
	for _, e := range s.engines() {
		switch e.variable {
		case envTemporal:
			_, err := s.config.temporalCLI()
			errs = append(errs, err)
			listeners = append(listeners, listener{"Temporal", ports.Temporal, "temporal-port"})
			if s.config.UI {
				listeners = append(listeners, listener{"Temporal's UI", ports.TemporalUI, "temporal-ui-port"})
			}
		case envMongo:
			listeners = append(listeners, listener{"MongoDB", ports.Mongo, "mongo-port"})
		case envSMTP:
			listeners = append(listeners, listener{"mail catcher", ports.SMTP, "smtp-port"},
				listener{"mail page", ports.Mail, "mail-port"})
		case envAMQP:
			listeners = append(listeners, listener{"RabbitMQ", ports.AMQP, "amqp-port"})
		case envIDP:
			needBelfry = true
			listeners = append(listeners, listener{"idp", ports.IDP, "idp-port"})
			if s.isIssuer() {
				listeners = append(listeners, listener{"OIDC issuer", ports.OIDC, "oidc-port"})
			}
		}
	}
	if needBelfry {
		errs = append(errs, s.config.findBelfry())
	}
	if s.config.belfry {
		listeners = append(listeners, listener{"Belfry's API", s.apiPort(), "http-port"})
	}
	return errors.Join(append(errs, checkPorts(listeners))...)
}
