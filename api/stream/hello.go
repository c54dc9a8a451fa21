package stream

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net"
	"time"

	"github.com/gorilla/websocket"

	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/store"
)

// credentials are what a client has shown, and who that is.
type credentials struct {
	bearer string // empty: it was a ticket, or nobody is asked
	caller access.Caller
}

var tokenEnded = &ending{closeUnauthenticated, wordUnauthorized, "the token has ended"}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

func readHello(kind int, text []byte) (clientHello, *ending) {
	if kind != websocket.TextMessage || frameType(text) != "hello" {
		return clientHello{}, badFrame(`the first frame has to be {"type": "hello"}`)
	}
	return decode[clientHello](text)
}

// greet finds out who the client is, and begins to tell it what it asks for.
func (c *connection) greet(hello clientHello, shown *credentials) *ending {
	var after *cursor
	if hello.After != "" {
		parsed, err := parseCursor(hello.After)
		if err != nil {
			return badFrame("after: " + err.Error())
		}
		after = &parsed
	}
	ctx, cancel := context.WithTimeout(c.gone, storeTimeout)
	defer cancel()
	if end := c.identify(ctx, hello, shown); end != nil {
		return end
	}
	c.begin(after)
	if end := c.stream.join(c); end != nil {
		return end
	}
	_ = c.stream.Gateway.Open(ctx, c.userID, c) // where this fails the looks at what is stored find what comes
	unread := 0
	err := c.whenFree(func(ctx context.Context) (err error) {
		unread, err = c.stream.Store.Unread(ctx, c.userID)
		return err
	})
	if err == nil && after == nil {
		err = c.settle()
	}
	if err != nil {
		c.stream.Gateway.Close(c.userID, c)
		return c.unavailable(err)
	}
	c.hello(unread)
	if after != nil || !c.settled() {
		c.look()
	}
	return nil
}

// identify says who the client is and whose inbox it is to see.
func (c *connection) identify(ctx context.Context, hello clientHello, shown *credentials) *ending {
	if hello.Ticket != "" && (hello.Token != "" || shown != nil) {
		return badFrame("one of token and ticket")
	}
	var end *ending
	switch {
	case hello.Ticket != "":
		return c.redeem(ctx, hello)
	case c.stream.Authenticate == nil:
		shown = &credentials{caller: access.Anyone}
	case hello.Token != "":
		shown, end = c.stream.authenticate(ctx, hello.Token)
	case shown == nil:
		end = &ending{closeUnauthenticated, wordUnauthorized, "needs a token or a ticket"}
	}
	if end != nil {
		return end
	}
	c.bearer, c.caller, c.userID = shown.bearer, shown.caller, hello.UserID
	if c.userID == "" {
		c.userID = c.caller.UserID
	}
	switch {
	case c.userID == "":
		return badFrame("user_id: is needed, as it does not follow from who connects")
	case !c.caller.MayFor(access.ScopeInbox, c.userID):
		return &ending{closeUnauthenticated, wordForbidden, "this is another user's inbox"}
	}
	return nil
}

// authenticate says who shows a bearer token.
func (s *Stream) authenticate(ctx context.Context, bearer string) (*credentials, *ending) {
	caller, err := s.Authenticate(ctx, bearer)
	switch {
	case notify.CodeOf(err) == notify.CodeUnavailable:
		s.Log.WarnContext(ctx, "a token could not be checked", "error", err)
		return nil, &ending{websocket.CloseTryAgainLater, wordUnavailable, "the token cannot be checked now; try again"}
	case err != nil, !caller.Until.IsZero() && !s.Now().Before(caller.Until):
		return nil, &ending{closeUnauthenticated, wordUnauthorized, "the token is not good"}
	case !caller.May(access.ScopeInbox):
		return nil, &ending{closeUnauthenticated, wordScope, "needs the scope " + string(access.ScopeInbox)}
	}
	return &credentials{bearer: bearer, caller: caller}, nil
}

// recheck closes the connection when its token is not good any more.
func (c *connection) recheck() {
	if c.bearer == "" {
		return
	}
	ctx, cancel := context.WithTimeout(c.gone, storeTimeout)
	defer cancel()
	if _, end := c.stream.authenticate(ctx, c.bearer); end != nil && end.word != wordUnavailable && ctx.Err() == nil {
		c.end(end)
	}
}

// unavailable ends a connection that cannot be served now.
func (c *connection) unavailable(err error) *ending {
	if c.gone.Err() == nil {
		c.stream.Log.Warn("a socket cannot be served", "error", err)
	}
	return &ending{websocket.CloseTryAgainLater, wordUnavailable, "a service that Belfry needs cannot be reached; try again"}
}

// ticketLifetime is for how long a ticket can be used.
const ticketLifetime = 30 * time.Second

// Issue makes a ticket with which a socket can be opened, once and soon, for a
// user, in place of a caller who may do so.
func (s *Stream) Issue(ctx context.Context, caller access.Caller, userID string) (ticket string, expiresAt time.Time, err error) {
	ticket = rand.Text()
	expiresAt = s.Now().UTC().Truncate(time.Millisecond).Add(ticketLifetime)
	err = s.Store.InsertTicket(ctx, &store.Ticket{ID: ticketID(ticket), UserID: userID, Caller: caller, ExpiresAt: expiresAt})
	return ticket, expiresAt, err
}

// ticketID is under which id a ticket is kept: who reads the database cannot use
// it.
func ticketID(ticket string) string {
	hash := sha256.Sum256([]byte(ticket))
	return base64.RawURLEncoding.EncodeToString(hash[:])
}

// redeem opens the inbox that the ticket is for.
func (c *connection) redeem(ctx context.Context, hello clientHello) *ending {
	t, err := c.stream.Store.UseTicket(ctx, ticketID(hello.Ticket), c.stream.Now())
	switch {
	case notify.CodeOf(err) == notify.CodeNotFound:
		return &ending{closeUnauthenticated, wordUnauthorized, "the ticket is not good: unknown, used or expired"}
	case err != nil:
		return c.unavailable(err)
	case hello.UserID != "" && hello.UserID != t.UserID:
		return &ending{closeUnauthenticated, wordForbidden, "this is another user's inbox"}
	case !t.Caller.MayFor(access.ScopeInbox, t.UserID):
		return &ending{closeUnauthenticated, wordForbidden, "this is another user's inbox"}
	case !t.Caller.Until.IsZero() && !c.stream.Now().Before(t.Caller.Until):
		return tokenEnded
	}
	c.caller, c.userID = t.Caller, t.UserID
	return nil
}
