package idp

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/belfry-notify/belfry/internal/notify"
)

// The bytes of the deployed contract, written by hand: a field's tag is its
// number << 3 | 2 for a string, then come its length and its text
// (https://protobuf.dev/programming-guides/encoding/).
const (
	wireAsk     = "\x0a\x02cy"
	wireAnswer  = "\x0a\x02cy\x12\x0ecy@example.org"
	wireForeign = wireAnswer + "\x1a\x03abc\x20\x07" // a string in field 3, a number in field 4
	wireFull    = "\x0a\x03ana\x12\x0fana@example.org" +
		"\x52\x09Ana Łuć\x5a\x05pt-BR\x62\x0dEurope/Lisbon\x6a\x0d+351210000000" // fields 10 to 13
)

// rawCodec passes bytes through as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) ([]byte, error) { return []byte(*v.(*string)), nil }

func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*string) = string(data)
	return nil
}

// serveRaw is a server that knows no proto: it takes one request's bytes and
// answers with others.
func serveRaw(t *testing.T, ask, answer string) string {
	t.Helper()
	server := grpc.NewServer(grpc.ForceServerCodec(rawCodec{}))
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "UserInfo",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: "GetUser",
			Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				var got string
				if err := decode(&got); err != nil {
					return nil, err
				}
				if got != ask {
					return nil, fmt.Errorf("asked with %q", got)
				}
				return &answer, nil
			},
		}},
	}, nil)
	listener, served := listen(t), make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-served)
	})
	return listener.Addr().String()
}

func TestClientSpeaksTheDeployedContract(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		id, ask, answer string
		want            notify.User
		code            notify.Code
	}{
		"fields 1 and 2":   {id: "cy", ask: wireAsk, answer: wireAnswer, want: notify.User{ID: "cy", Email: "cy@example.org"}},
		"only field 1":     {id: "cy", ask: wireAsk, answer: wireAsk, want: notify.User{ID: "cy"}},
		"fields not known": {id: "cy", ask: wireAsk, answer: wireForeign, want: notify.User{ID: "cy", Email: "cy@example.org"}},
		"fields of ours": {id: "ana", ask: "\x0a\x03ana", answer: wireFull, want: notify.User{
			ID: "ana", Email: "ana@example.org", Name: "Ana Łuć",
			Locale: "pt-BR", TimeZone: "Europe/Lisbon", Phone: "+351210000000",
		}},
		"nothing": {id: "cy", ask: wireAsk, answer: "", code: notify.CodeUserNotFound},
		"garbage": {id: "cy", ask: wireAsk, answer: "\x0a\xff", code: notify.CodeUnavailable},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			user, err := newClient(t, Config{Addr: serveRaw(t, test.ask, test.answer)}).Lookup(t.Context(), test.id)
			require.Equal(t, test.want, user)
			if test.code == "" {
				require.NoError(t, err)
			} else {
				requireCode(t, test.code, err)
			}
		})
	}
}

func TestServerSpeaksTheDeployedContract(t *testing.T) {
	t.Parallel()
	conn := newClient(t, Config{Addr: serve(t, ServerConfig{})}).conn
	raw := grpc.ForceCodec(rawCodec{})

	t.Run("GetUser", func(t *testing.T) {
		t.Parallel()
		for ask, want := range map[string]string{wireAsk: wireAnswer, "\x0a\x03ana": wireFull, "\x0a\x02bo": "\x0a\x02bo"} {
			var got string
			require.NoError(t, conn.Invoke(t.Context(), "/UserInfo/GetUser", &ask, &got, raw))
			require.Equal(t, want, got)
		}
	})
	t.Run("GetAllUsers", func(t *testing.T) {
		t.Parallel()
		both := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
		stream, err := conn.NewStream(t.Context(), both, "/UserInfo/GetAllUsers", raw)
		require.NoError(t, err)
		require.NoError(t, stream.CloseSend())
		for _, want := range []string{wireFull, "\x0a\x02bo", wireAnswer} {
			var got string
			require.NoError(t, stream.RecvMsg(&got))
			require.Equal(t, want, got)
		}
	})
}
