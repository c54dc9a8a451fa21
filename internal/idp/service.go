package idp

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/belfry-notify/belfry/internal/idp/idppb"
)

// A service answers the two calls of the contract from the users file.
type service struct {
	idppb.UnimplementedUserInfoServer
	users *usersFile
}

// GetUser answers who one user is.
func (s *service) GetUser(_ context.Context, request *idppb.GetUserRequest) (*idppb.Info, error) {
	info, ok := s.users.current().byID[request.GetId()]
	if !ok {
		return nil, status.Error(codes.NotFound, "no such user")
	}
	return info, nil
}

// GetAllUsers answers requests as they come, and lists every user when none
// came. An unknown user is an empty Info, as ending the stream with NOT_FOUND
// would cost the caller the rest of its page: the n-th answer always belongs to
// the n-th request, and an answer without an id is nobody.
func (s *service) GetAllUsers(stream grpc.BidiStreamingServer[idppb.GetUserRequest, idppb.Info]) error {
	requests, listed := 0, false
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			if requests == 0 {
				return sendAll(stream, s.users.current().sorted)
			}
			return nil
		}
		if err != nil {
			return err
		}
		requests++
		isList := request.AfterId != nil || request.Limit != nil
		switch {
		case listed || isList && (requests > 1 || request.GetId() != ""):
			return status.Error(codes.InvalidArgument, "after_id and limit go on a single request without an id")
		case isList:
			listed = true
			err = sendAll(stream, s.users.current().page(request.GetAfterId(), int(request.GetLimit())))
		default:
			info, ok := s.users.current().byID[request.GetId()]
			if !ok {
				info = &idppb.Info{}
			}
			err = stream.Send(info)
		}
		if err != nil {
			return err
		}
	}
}

func sendAll(stream grpc.BidiStreamingServer[idppb.GetUserRequest, idppb.Info], infos []*idppb.Info) error {
	for _, info := range infos {
		if err := stream.Send(info); err != nil {
			return err
		}
	}
	return nil
}
