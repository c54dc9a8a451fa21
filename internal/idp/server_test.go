package idp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/belfry-notify/belfry/internal/idp/idppb"
)

// askAll sends requests to GetAllUsers and collects the ids of the answers.
func askAll(t *testing.T, users idppb.UserInfoClient, requests ...*idppb.GetUserRequest) ([]string, error) {
	t.Helper()
	stream, err := users.GetAllUsers(t.Context())
	require.NoError(t, err)
	for _, request := range requests {
		if err := stream.Send(request); !errors.Is(err, io.EOF) { // EOF: Recv has the error
			require.NoError(t, err)
		}
	}
	require.NoError(t, stream.CloseSend())
	ids := []string{}
	for {
		info, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return ids, nil
		}
		if err != nil {
			return ids, err
		}
		ids = append(ids, info.GetId())
	}
}

func TestGetAllUsers(t *testing.T) {
	t.Parallel()
	users := stubOf(t, Config{Addr: serve(t, ServerConfig{})})
	id := func(id string) *idppb.GetUserRequest { return &idppb.GetUserRequest{Id: id} }
	part := func(afterID string, limit uint32) *idppb.GetUserRequest {
		return &idppb.GetUserRequest{AfterId: &afterID, Limit: &limit}
	}
	type requests = []*idppb.GetUserRequest
	tests := map[string]struct {
		requests requests
		want     []string
		code     codes.Code
	}{
		"none: everybody":          {nil, []string{"ana", "bo", "cy"}, codes.OK},
		"in the order asked":       {requests{id("cy"), id("ana"), id("cy")}, []string{"cy", "ana", "cy"}, codes.OK},
		"an unknown one":           {requests{id("ana"), id("nobody"), id("cy")}, []string{"ana", "", "cy"}, codes.OK},
		"an empty id":              {requests{id("")}, []string{""}, codes.OK},
		"after nothing, no limit":  {requests{part("", 0)}, []string{"ana", "bo", "cy"}, codes.OK},
		"after nothing, limit 2":   {requests{part("", 2)}, []string{"ana", "bo"}, codes.OK},
		"after one, limit 2":       {requests{part("bo", 2)}, []string{"cy"}, codes.OK},
		"after no user's id":       {requests{part("b", 1)}, []string{"bo"}, codes.OK},
		"after the last":           {requests{part("cy", 1)}, []string{}, codes.OK},
		"limit alone":              {requests{{Limit: proto.Uint32(1)}}, []string{"ana"}, codes.OK},
		"after_id alone":           {requests{{AfterId: proto.String("ana")}}, []string{"bo", "cy"}, codes.OK},
		"the largest limit":        {requests{part("", 1<<32-1)}, []string{"ana", "bo", "cy"}, codes.OK},
		"limit with an id":         {requests{{Id: "ana", Limit: proto.Uint32(1)}}, []string{}, codes.InvalidArgument},
		"a part, then a look-up":   {requests{part("", 1), id("cy")}, []string{"ana"}, codes.InvalidArgument},
		"a look-up, then a part":   {requests{id("cy"), part("", 1)}, []string{"cy"}, codes.InvalidArgument},
		"a part, then another one": {requests{part("", 1), part("ana", 1)}, []string{"ana"}, codes.InvalidArgument},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ids, err := askAll(t, users, test.requests...)
			require.Equal(t, test.code, status.Code(err), err)
			require.Equal(t, test.want, ids)
		})
	}
}

func TestGetAllUsersAnswersWhileAsked(t *testing.T) {
	t.Parallel()
	stream, err := stubOf(t, Config{Addr: serve(t, ServerConfig{})}).GetAllUsers(t.Context())
	require.NoError(t, err)
	for _, id := range []string{"ana", "cy", "bo"} { // each answered before the next is asked
		require.NoError(t, stream.Send(&idppb.GetUserRequest{Id: id}))
		info, err := stream.Recv()
		require.NoError(t, err)
		require.Equal(t, id, info.GetId())
	}
	require.NoError(t, stream.CloseSend())
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF)
}

func TestTenThousandUsers(t *testing.T) {
	t.Parallel()
	const n = 10_000
	var file strings.Builder
	for i := range n {
		fmt.Fprintf(&file, "- {id: u%d, email: u%d@example.org}\n", i, i)
	}
	addr := serve(t, ServerConfig{UsersFile: writeFile(t, "users.yaml", file.String())})
	users := stubOf(t, Config{Addr: addr})

	all, err := askAll(t, users)
	require.NoError(t, err)
	require.Len(t, all, n)
	require.True(t, slices.IsSorted(all))

	var paged []string
	for last := ""; ; last = paged[len(paged)-1] {
		page, err := askAll(t, users, &idppb.GetUserRequest{AfterId: &last, Limit: proto.Uint32(1_500)})
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		paged = append(paged, page...)
	}
	require.Equal(t, all, paged)
}

func TestReflection(t *testing.T) {
	t.Parallel()
	conn := newClient(t, Config{Addr: serve(t, ServerConfig{})}).conn
	stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	require.NoError(t, err)
	require.NoError(t, stream.Send(&reflectionpb.ServerReflectionRequest{
		MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{},
	}))
	answer, err := stream.Recv()
	require.NoError(t, err)
	var names []string
	for _, service := range answer.GetListServicesResponse().GetService() {
		names = append(names, service.GetName())
	}
	require.Subset(t, names, []string{"UserInfo", "grpc.health.v1.Health"})
	require.NoError(t, stream.CloseSend())
}

func TestServeRefusesToStart(t *testing.T) {
	t.Parallel()
	good := writeFile(t, "users.yaml", usersYAML)
	tests := map[string]struct {
		config ServerConfig
		want   string
	}{
		"no users file":         {ServerConfig{UsersFile: "no-such.yaml"}, "read the users file: stat no-such.yaml"},
		"a wrong users file":    {ServerConfig{UsersFile: writeFile(t, "users.json", "{}")}, "users.json: not a list of users"},
		"a folder":              {ServerConfig{UsersFile: t.TempDir()}, "read the users file"},
		"certificate, no key":   {ServerConfig{UsersFile: good, CertFile: "cert.pem"}, "TLS needs both"},
		"no such certificate":   {ServerConfig{UsersFile: good, CertFile: "no.pem", KeyFile: "no.pem"}, "read the TLS certificate"},
		"file of another name":  {ServerConfig{UsersFile: writeFile(t, "users.txt", "[]")}, "must end in .json, .yaml or .yml"},
		"file just being saved": {ServerConfig{UsersFile: writeFile(t, "users.yaml", "")}, "empty"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listener := listen(t)
			err := Serve(t.Context(), listener, test.config)
			require.ErrorContains(t, err, test.want)
			require.NotContains(t, err.Error(), "\n")
			_, err = listener.Accept()
			require.Error(t, err, "the listener is closed")
		})
	}
}

func TestServeStopsDespiteAnOpenStream(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	listener, served := listen(t), make(chan error, 1)
	config := ServerConfig{UsersFile: writeFile(t, "users.yaml", usersYAML), StopTimeout: 50 * time.Millisecond}
	go func() { served <- Serve(ctx, listener, config) }()

	stream, err := stubOf(t, Config{Addr: listener.Addr().String()}).GetAllUsers(t.Context(), grpc.WaitForReady(true))
	require.NoError(t, err)
	require.NoError(t, stream.Send(&idppb.GetUserRequest{Id: "ana"}))
	_, err = stream.Recv()
	require.NoError(t, err)
	stop()
	select {
	case err := <-served:
		require.NoError(t, err)
	case <-time.After(patience):
		require.Fail(t, "the server still runs")
	}
	_, err = stream.Recv()
	require.Equal(t, codes.Unavailable, status.Code(err))
}
