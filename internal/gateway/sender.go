package gateway

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/belfry-notify/belfry/internal/gateway/gatewaypb"
)

// A sender makes the calls to one gateway, one after the other: what has come
// for it meanwhile goes with the next one.
type sender struct {
	pusher  *Pusher
	addr    string
	waiting *backlog
	end     context.CancelFunc
}

// What one call carries at most. gRPC's own limit is 4 MiB.
const (
	pushMost = 500
	pushSize = 1 << 20
)

// pushTimeout bounds one call. It waits for nobody: sockets have queues.
const pushTimeout = 2 * time.Second

func (s *sender) run(ctx context.Context) {
	log := s.pusher.Log.With("gateway", s.addr)
	var connection *grpc.ClientConn
	defer func() {
		if connection != nil {
			_ = connection.Close() // nothing is under way
		}
	}()
	var troubles troubles
	for {
		messages := s.waiting.take(ctx, pushMost, pushSize)
		if messages == nil {
			return
		}
		var err error
		if connection == nil {
			connection, err = s.dial(ctx)
		}
		if err == nil {
			err = push(ctx, connection, messages)
		}
		if err != nil && ctx.Err() == nil && troubles.tell() {
			log.WarnContext(ctx, "news cannot be passed on to a gateway, which has to find them", "error", err)
		}
		if dropped := s.waiting.droppedSince(); dropped > 0 && troubles.tell() {
			log.WarnContext(ctx, "more news than a gateway takes, it has to find them", "dropped", dropped)
		}
	}
}

func (s *sender) dial(ctx context.Context) (*grpc.ClientConn, error) {
	ctx, cancel := context.WithTimeout(ctx, lookUpTimeout)
	defer cancel()
	token, err := s.pusher.Link.token(ctx, s.pusher.Directory)
	if err != nil {
		return nil, err
	}
	return s.pusher.Link.dial(s.addr, token)
}

func push(ctx context.Context, connection *grpc.ClientConn, messages []*Message) error {
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	request := &gatewaypb.PushRequest{Messages: make([]*gatewaypb.Message, len(messages))}
	for i, m := range messages {
		request.Messages[i] = m.proto()
	}
	_, err := gatewaypb.NewGatewayServiceClient(connection).Push(ctx, request)
	return err
}
