package stack

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// findBelfry fails where the belfry binary is missing.
func (c *Config) findBelfry() error {
	if _, err := exec.LookPath(c.path(c.Belfry)); err != nil {
		return fmt.Errorf("%s is missing: run make build first", c.Belfry)
	}
	return nil
}

// startIDP runs belfry's own idp with the users of the stack.
func (s *Stack) startIDP(ctx context.Context) (err error) {
	addr := address(s.config.Ports.IDP)
	cmd := exec.Command(s.config.path(s.config.Belfry), "idp", "--addr", addr, "--users", s.config.path(s.config.Users))
	if s.isIssuer() {
		cmd.Args = append(cmd.Args, "--oidc", address(s.config.Ports.OIDC))
	}
	cmd.Dir, cmd.Env = s.config.Root, s.env
	if s.idp, err = s.startChild("the idp", cmd, s.config.data("logs", "idp.log")); err != nil {
		return err
	}
	return s.untilReady(ctx, s.idp, func(ctx context.Context) error { return answering(ctx, addr) })
}

// isIssuer says whether the idp is the OIDC issuer too: not where another one is
// given or where others reach the API, for then it would refuse to be.
func (s *Stack) isIssuer() bool {
	given := environ(s.config.Environ)
	host, _, err := net.SplitHostPort(given.get(envHTTP))
	ip := net.ParseIP(host)
	apart := !given.given(envHTTP) || err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
	return !given.given(envIDP) && !given.given(envIssuer) && apart
}

// issuer is the OIDC issuer of the stack.
func (s *Stack) issuer() string { return "http://" + address(s.config.Ports.OIDC) }

// answering succeeds once a gRPC server answers its health service, with what
// does not matter: it may want a token.
func answering(ctx context.Context, addr string) error {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	if code := status.Code(err); code == codes.Unavailable || code == codes.DeadlineExceeded || code == codes.Canceled {
		return err
	}
	return nil
}

// startBelfry runs belfry all, its log going to the terminal.
func (s *Stack) startBelfry(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	cmd := exec.Command(s.config.path(s.config.Belfry), "all")
	cmd.Dir, cmd.Env = s.config.Root, s.env
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if s.belfry, err = s.startChild("belfry", cmd, ""); err != nil {
		return err
	}
	return s.untilReady(ctx, s.belfry, s.ready)
}

// ready succeeds once Belfry's API says that it is ready.
func (s *Stack) ready(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.api()+"/readyz", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz answers %s", answer.Status)
	}
	return nil
}

// api is where Belfry answers HTTP, seen from this machine.
func (s *Stack) api() string {
	host, port, err := net.SplitHostPort(s.env.get(envHTTP))
	if err != nil {
		return "http://" + s.env.get(envHTTP) // Belfry will say what is wrong with it
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// apiPort is the port of the API; 0 where Belfry will say what is wrong with it.
func (s *Stack) apiPort() int {
	_, port, _ := net.SplitHostPort(s.env.get(envHTTP))
	number, _ := strconv.Atoi(port)
	return number
}
