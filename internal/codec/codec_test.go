package codec_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/belfry-notify/belfry/internal/codec"
)

// key is one in base64, made of a letter.
func key(letter string) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(letter, 32)))
}

func keys(t testing.TB, text string) codec.Keys {
	t.Helper()
	if text == "" {
		return codec.Keys{}
	}
	parsed, err := codec.ParseKeys(text)
	require.NoError(t, err)
	return parsed
}

type value struct {
	ID string `json:"id"`
}

func TestWhatIsEncryptedIsDecrypted(t *testing.T) {
	t.Parallel()
	of := codec.DataConverter(keys(t, "one:"+key("a")))
	payload, err := of.ToPayload(value{ID: "welcome"})
	require.NoError(t, err)
	require.Equal(t, "one", string(payload.Metadata["encryption-key-id"]))
	require.Equal(t, "binary/encrypted", string(payload.Metadata["encoding"]))
	require.Len(t, payload.Metadata, 2, "the metadata that say what it is are encrypted too")
	require.NotContains(t, string(payload.Data), "welcome")
	again, err := of.ToPayload(value{ID: "welcome"})
	require.NoError(t, err)
	require.NotEqual(t, payload.Data, again.Data, "each has a nonce of its own")

	var got value
	require.NoError(t, of.FromPayload(payload, &got))
	require.Equal(t, value{ID: "welcome"}, got)
	require.Contains(t, of.ToString(payload), "welcome")

	var id, other string
	both, err := of.ToPayloads("x", "y")
	require.NoError(t, err)
	require.NoError(t, of.FromPayloads(both, &id, &other))
	require.Equal(t, "x y", id+" "+other)
}

func TestKeysAreRotated(t *testing.T) {
	t.Parallel()
	plain, err := converter.GetDefaultDataConverter().ToPayload("plain")
	require.NoError(t, err)
	old, err := codec.DataConverter(keys(t, "old:"+key("a"))).ToPayload("old")
	require.NoError(t, err)
	both := codec.DataConverter(keys(t, "new:"+key("b")+",old:"+key("a")))
	encrypted, err := both.ToPayload("new")
	require.NoError(t, err)
	require.Equal(t, "new", string(encrypted.Metadata["encryption-key-id"]), "the first one encrypts")
	for want, payload := range map[string]*common.Payload{"plain": plain, "old": old, "new": encrypted} {
		var got string
		require.NoError(t, both.FromPayload(payload, &got))
		require.Equal(t, want, got)
	}
}

func TestAKeyThatIsMissingOrAnotherIsNamed(t *testing.T) {
	t.Parallel()
	payload, err := codec.DataConverter(keys(t, "old:"+key("a"))).ToPayload("x")
	require.NoError(t, err)
	changed := &common.Payload{Metadata: payload.Metadata, Data: bytes.Clone(payload.Data)}
	changed.Data[len(changed.Data)-1] ^= 1
	renamed := &common.Payload{Metadata: map[string][]byte{"encoding": []byte("binary/encrypted"), "encryption-key-id": []byte("new")}, Data: payload.Data}
	for name, test := range map[string]struct {
		keys    string
		payload *common.Payload
		missing bool
		id      string
	}{
		"missing":        {"new:" + key("a"), payload, true, "old"},
		"no keys":        {"", payload, true, "old"},
		"another":        {"old:" + key("b"), payload, false, "old"},
		"changed":        {"old:" + key("a"), changed, false, "old"},
		"of another key": {"new:" + key("a"), renamed, false, "new"},
		"short":          {"old:" + key("a"), &common.Payload{Metadata: payload.Metadata, Data: []byte("x")}, false, "old"},
	} {
		of := codec.DataConverter(keys(t, test.keys))
		var got string
		for _, err := range []error{of.FromPayload(test.payload, &got), of.FromPayloads(&common.Payloads{Payloads: []*common.Payload{test.payload}}, &got)} {
			var wrong *codec.KeyError
			require.ErrorAs(t, err, &wrong, name)
			require.Equal(t, codec.KeyError{KeyID: test.id, Missing: test.missing}, *wrong, name)
			require.ErrorContains(t, err, test.id)
		}
		inWorkflow := of.(converter.ContextAware).WithWorkflowContext(nil)
		require.Panics(t, func() { _ = inWorkflow.FromPayload(test.payload, &got) }, "%s: a workflow must not fail for it", name)
		require.Error(t, inWorkflow.(converter.ContextAware).WithContext(context.Background()).FromPayload(&common.Payload{}, &got))
	}
}

func TestNoKeyIsEverShown(t *testing.T) {
	t.Parallel()
	for _, wrong := range []string{
		"", "hunter2", "id", "id:", "id:hunter2", "id:" + base64.StdEncoding.EncodeToString([]byte("hunter2")), ":" + key("a"), "i d:" + key("a"),
		strings.Repeat("x", 65) + ":" + key("a"), "id:" + key("a") + ",id:" + key("b"), "id:" + key("a") + ",", "id:" + key("a") + key("a"),
	} {
		_, err := codec.ParseKeys(wrong)
		require.Error(t, err, wrong)
		require.NotContains(t, err.Error(), "hunter2")
		require.NotContains(t, err.Error(), key("a")[:8])
	}
	secret := keys(t, "id:"+key("a")+",old:"+key("b"))
	require.Equal(t, "2 keys", secret.String())
	require.Equal(t, "2 keys", secret.GoString())
}

// Failures say what went wrong, which may be about a person.
func TestFailuresAreEncryptedToo(t *testing.T) {
	t.Parallel()
	var plain client.Options
	codec.Configure(&plain, codec.Keys{})
	require.Nil(t, plain.FailureConverter)

	var options client.Options
	codec.Configure(&options, keys(t, "one:"+key("a")))
	failure := options.FailureConverter.ErrorToFailure(temporal.NewApplicationError("no mailbox ann@example.com", "rejected"))
	require.NotContains(t, failure.String(), "ann@example.com")
	require.ErrorContains(t, options.FailureConverter.FailureToError(failure), "no mailbox ann@example.com")
}

// A codec server does for people what the codec does.
func TestTheCodecServer(t *testing.T) {
	t.Parallel()
	secret := keys(t, "one:"+key("a"))
	payload, err := codec.DataConverter(secret).ToPayload("welcome")
	require.NoError(t, err)
	open := httptest.NewServer(codec.Handler(secret, codec.ServerConfig{Origins: []string{"http://ui.example"}}))
	defer open.Close()
	guarded := httptest.NewServer(codec.Handler(secret, codec.ServerConfig{Token: "token"}))
	defer guarded.Close()
	people := httptest.NewServer(codec.Handler(secret, codec.ServerConfig{Token: "token", Admit: func(_ context.Context, bearer string) bool { return bearer == "ann" }}))
	defer people.Close()

	remote := func(url, token string) error {
		var got string
		remote := converter.NewRemotePayloadCodec(converter.RemotePayloadCodecOptions{Endpoint: url, ModifyRequest: func(r *http.Request) error {
			r.Header.Set("Authorization", token)
			return nil
		}})
		decoded, err := remote.Decode([]*common.Payload{payload})
		if err != nil {
			return err
		}
		require.NoError(t, converter.GetDefaultDataConverter().FromPayload(decoded[0], &got))
		require.Equal(t, "welcome", got)
		encoded, err := remote.Encode(decoded)
		require.NoError(t, err)
		return codec.DataConverter(secret).FromPayload(encoded[0], &got)
	}
	require.NoError(t, remote(open.URL, ""))
	require.NoError(t, remote(guarded.URL, "Bearer token"))
	require.NoError(t, remote(people.URL, "Bearer token"))
	require.NoError(t, remote(people.URL, "bearer ann"))
	for _, wrong := range []string{"", "token", "Bearer", "Bearer ", "Bearer toke", "Bearer token2", "Basic token", "Basic ann"} {
		require.Error(t, remote(guarded.URL, wrong), wrong)
		require.Error(t, remote(people.URL, wrong), wrong)
	}

	for origin, allowed := range map[string]string{"http://ui.example": "http://ui.example", "http://evil.example": ""} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, open.URL+"/decode", nil)
		require.NoError(t, err)
		request.Header.Set("Origin", origin)
		request.Header.Set("Access-Control-Request-Method", http.MethodPost)
		request.Header.Set("Access-Control-Request-Headers", "authorization,content-type,x-namespace")
		answer, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		answer.Body.Close()
		require.Equal(t, allowed, answer.Header.Get("Access-Control-Allow-Origin"))
	}

	for _, broken := range []string{"", "{", `{"payloads":[{"metadata":{"encoding":"YmluYXJ5L2VuY3J5cHRlZA==","encryption-key-id":"b2xk"},"data":""}]}`} {
		answer, err := http.Post(open.URL+"/decode", "application/json", strings.NewReader(broken))
		require.NoError(t, err)
		text, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		answer.Body.Close()
		require.Equal(t, http.StatusBadRequest, answer.StatusCode)
		if strings.Contains(broken, "metadata") {
			require.Contains(t, string(text), `"old"`, "it names the key")
		}
	}
}

// What the codec is given comes from elsewhere.
func FuzzDecode(f *testing.F) {
	secret := keys(f, "one:"+key("a"))
	payload, err := codec.DataConverter(secret).ToPayload("x")
	require.NoError(f, err)
	f.Add([]byte("binary/encrypted"), []byte("one"), payload.Data)
	f.Add([]byte("json/plain"), []byte(""), []byte(`"x"`))
	f.Fuzz(func(t *testing.T, encoding, id, data []byte) {
		given := &common.Payload{Metadata: map[string][]byte{"encoding": encoding, "encryption-key-id": id}, Data: data}
		decoded, err := codec.New(secret).Decode([]*common.Payload{given})
		if err == nil && string(encoding) != "binary/encrypted" {
			require.Equal(t, []*common.Payload{given}, decoded)
		}
	})
}

// Without keys a payload costs what it does without the codec.
func BenchmarkDataConverter(b *testing.B) {
	for name, of := range map[string]converter.DataConverter{
		"temporal's own": converter.GetDefaultDataConverter(),
		"without keys":   codec.DataConverter(codec.Keys{}),
		"encrypted":      codec.DataConverter(keys(b, "one:"+key("a"))),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				payloads, err := of.ToPayloads(value{ID: "welcome"})
				if err != nil {
					b.Fatal(err)
				}
				var got value
				if err := of.FromPayloads(payloads, &got); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
