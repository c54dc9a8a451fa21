// Package idp asks an identity provider (idp) over gRPC who a user is, and has
// a reference server that answers from a file. The contract between the two is
// idppb/userinfo.proto; docs/idp.md says how to put another server behind it.
package idp

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/singleflight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/belfry-notify/belfry/internal/idp/idppb"
	"github.com/belfry-notify/belfry/internal/notify"
)

// MaxUserIDLength is how many characters a user id may have. Nobody has a
// longer one.
const MaxUserIDLength = 256

// A Client looks users up at one idp. It is safe for concurrent use and keeps
// one connection, which it opens when first needed and reopens by itself.
type Client struct {
	conn    *grpc.ClientConn
	users   idppb.UserInfoClient
	timeout time.Duration
	cache   *cache
	flights singleflight.Group
}

// New makes a client. It does not connect, so an idp that is down is no error
// here; see Ping.
func New(config Config) (*Client, error) {
	config = config.withDefaults()
	conn, err := dial(config)
	if err != nil {
		return nil, err
	}
	return &Client{
		conn:    conn,
		users:   idppb.NewUserInfoClient(conn),
		timeout: config.Timeout,
		cache:   newCache(config.CacheSize, config.CacheTTL, time.Now),
	}, nil
}

// Close ends the connection. Look-ups under way fail.
func (c *Client) Close() error { return c.conn.Close() }

// Lookup says who a user is, from the cache if the idp said so less than the
// cache's TTL ago. Concurrent look-ups of one id share one call, which goes on
// when a caller gives up. User.ID is userID; the other fields are as the idp
// gave them, unchecked, and may be empty.
//
// Errors are *notify.Error. With CodeUserNotFound, another try cannot help: the
// idp does not know the user, or nobody can have this id (empty, longer than
// MaxUserIDLength characters, no UTF-8). With any other code it can:
// CodeUnavailable when the idp did not answer in time or failed, CodeInternal
// when an operator has to mend something first (a wrong token, another server
// at the address).
func (c *Client) Lookup(ctx context.Context, userID string) (notify.User, error) {
	if !isID(userID) {
		return notify.User{}, errNoID
	}
	if user, ok := c.cache.get(userID); ok {
		return user, nil
	}
	flight := c.flights.DoChan(userID, func() (any, error) {
		if user, ok := c.cache.get(userID); ok { // filled since by the flight before this one
			return user, nil
		}
		return c.fetch(context.WithoutCancel(ctx), userID)
	})
	select {
	case <-ctx.Done():
		return notify.User{}, errorOf(ctx.Err())
	case landed := <-flight:
		user, _ := landed.Val.(notify.User)
		return user, landed.Err
	}
}

var errNoID = &notify.Error{Code: notify.CodeUserNotFound, Detail: "no user can have this id"}

// isID says whether a user can have this id.
func isID(userID string) bool {
	return userID != "" && utf8.ValidString(userID) && utf8.RuneCountInString(userID) <= MaxUserIDLength
}

// fetch asks the idp.
func (c *Client) fetch(ctx context.Context, userID string) (notify.User, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	info, err := c.users.GetUser(ctx, &idppb.GetUserRequest{Id: userID})
	if err != nil {
		return notify.User{}, errorOf(err)
	}
	return c.keep(userID, info)
}

// keep makes a user of the answer about an id, and puts it into the cache.
// Unknown users are not kept: a user who has just signed up is found by the next
// look-up.
func (c *Client) keep(userID string, info *idppb.Info) (notify.User, error) {
	switch {
	case info.GetId() == "": // how a server without NOT_FOUND says it
		return notify.User{}, errorOf(status.Error(codes.NotFound, "empty answer"))
	case !strings.EqualFold(info.GetId(), userID): // never mail somebody else
		return notify.User{}, &notify.Error{Code: notify.CodeInternal, Detail: "the idp answered about another user"}
	}
	user := notify.User{
		ID:       userID,
		Email:    info.GetEmail(),
		Name:     info.GetName(),
		Locale:   info.GetLocale(),
		TimeZone: info.GetTimeZone(),
		Phone:    info.GetPhone(),
	}
	c.cache.put(userID, user)
	return user, nil
}

// Ping says whether the idp can be asked now: by its gRPC health service, or,
// when it has none, by the fact that it answers at all. Errors are as those of
// Lookup, without CodeUserNotFound.
func (c *Client) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	answer, err := healthpb.NewHealthClient(c.conn).Check(ctx, &healthpb.HealthCheckRequest{})
	switch code := status.Code(err); {
	case code == codes.Unimplemented:
		return nil
	case code == codes.NotFound: // the health service does not track the server as a whole
		return nil
	case err != nil:
		return errorOf(err)
	case answer.GetStatus() != healthpb.HealthCheckResponse_SERVING:
		return errorOf(status.Error(codes.Unavailable, "health is "+answer.GetStatus().String()))
	}
	return nil
}

// errorOf turns the error of a call into the one error callers see.
func errorOf(err error) *notify.Error {
	code := status.Code(err)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		code = codes.DeadlineExceeded
	}
	switch code {
	case codes.NotFound, codes.InvalidArgument: // all we send is the id
		return &notify.Error{Code: notify.CodeUserNotFound, Detail: "the idp does not know the user", Err: err}
	case codes.DeadlineExceeded, codes.Canceled:
		return &notify.Error{Code: notify.CodeUnavailable, Detail: "the idp did not answer in time", Err: err}
	case codes.Unavailable, codes.ResourceExhausted, codes.Aborted,
		codes.Internal, codes.Unknown, codes.DataLoss:
		return &notify.Error{Code: notify.CodeUnavailable, Detail: "the idp cannot answer", Err: err}
	case codes.Unauthenticated, codes.PermissionDenied:
		return &notify.Error{Code: notify.CodeInternal, Detail: "the idp refuses to answer Belfry, check its token", Err: err}
	default:
		return &notify.Error{Code: notify.CodeInternal, Detail: "the idp did not answer as one", Err: err}
	}
}
