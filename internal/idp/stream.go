package idp

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/belfry-notify/belfry/internal/idp/idppb"
)

// A stream is one call of GetAllUsers. Whoever opens it must close it.
type stream struct {
	answers grpc.BidiStreamingClient[idppb.GetUserRequest, idppb.Info]
	timeout time.Duration // for each answer
	timer   *time.Timer   // cancels the call
	cancel  context.CancelFunc
	sender  sync.WaitGroup
}

// open begins a call that sends the requests and half-closes while answers are
// received: some servers answer as they are asked, some only then.
func (c *Client) open(ctx context.Context, timeout time.Duration, requests ...*idppb.GetUserRequest) (*stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	s := &stream{timeout: timeout, timer: time.AfterFunc(timeout, cancel), cancel: cancel}
	var err error
	if s.answers, err = c.users.GetAllUsers(ctx); err != nil {
		s.close()
		return nil, err
	}
	s.sender.Go(func() {
		for _, request := range requests {
			if s.answers.Send(request) != nil {
				return // the next answer is why
			}
		}
		_ = s.answers.CloseSend()
	})
	return s, nil
}

// receive waits for the next answer; io.EOF when there are no more. One that does
// not come in time ends the call.
func (s *stream) receive() (*idppb.Info, error) {
	s.timer.Reset(s.timeout)
	defer s.timer.Stop()
	return s.answers.Recv()
}

func (s *stream) close() {
	s.timer.Stop()
	s.cancel()
	s.sender.Wait()
}
