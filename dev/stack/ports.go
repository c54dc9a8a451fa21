package stack

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"time"
)

// A listener is a port that something of ours is going to take.
type listener struct {
	what string
	port int
	flag string // of Ports, that changes it
}

// change says how to choose another port.
func (l listener) change() string {
	return "--" + l.flag + " or BELFRY_DEV_" + strings.ToUpper(strings.ReplaceAll(l.flag, "-", "_"))
}

// checkPorts fails with a line for each port that is taken.
func checkPorts(listeners []listener) error {
	var errs []error
	users := map[int]listener{}
	for _, l := range listeners {
		if other, used := users[l.port]; used {
			errs = append(errs, fmt.Errorf("port %d is wanted for both %s and %s: choose another one with %s",
				l.port, other.what, l.what, l.change()))
			continue
		}
		users[l.port] = l
		if taken(l.port) {
			errs = append(errs, fmt.Errorf("port %d (%s) is taken: stop what listens there, or choose another one with %s",
				l.port, l.what, l.change()))
		}
	}
	return errors.Join(errs...)
}

// taken says whether somebody listens on a port, on 127.0.0.1 or all addresses.
func taken(port int) bool {
	if conn, err := net.DialTimeout("tcp", address(port), time.Second); err == nil {
		_ = conn.Close()
		return true
	}
	l, err := net.Listen("tcp", address(port))
	if err != nil {
		return true
	}
	return l.Close() != nil
}

// freePorts finds ports for a stack of its own. They are below those that
// systems hand out for port 0 and for outgoing connections, so that nobody
// takes one by chance before our engine does.
func freePorts() (Ports, error) {
	var p Ports
	return p, findPorts(&p.HTTP, &p.Temporal, &p.TemporalUI, &p.Mongo, &p.SMTP, &p.Mail, &p.IDP, &p.OIDC,
		&p.AMQP, &p.Management, &p.Epmd, &p.ErlangDist)
}

// findPorts sets each to a free port, to different ones.
func findPorts(ports ...*int) error {
	const low, high = 20000, 32000
	used := map[int]bool{}
	for _, port := range ports {
		for range 1000 {
			candidate := low + rand.IntN(high-low)
			if !used[candidate] && !taken(candidate) {
				*port, used[candidate] = candidate, true
				break
			}
		}
		if *port == 0 {
			return errors.New("found no free port")
		}
	}
	return nil
}
