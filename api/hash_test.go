package api

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestHashesStayTheSame guards the hashes that are kept beside idempotency
// keys: what is added to a request must not change those of requests without.
func TestHashesStayTheSame(t *testing.T) {
	t.Parallel()
	for want, same := range map[string][]string{
		"83330457fa9a4d1c3b3598f890f085758f766a1667a524640a1c56c07b459041": {
			`{"template":"welcome","to":[{"email":"ann@example.com"}]}`,
			`{"template":"welcome","to":[{"email":"ann@example.com"}],"channels":["email"],"priority":"normal","on_unknown":"resend","data":{},"tags":[],"metadata":{}}`,
		},
		"8ca787674ed72e2b5cc6a04a89b3b24f7b494a2477d202686ae933f7ef594914": {
			`{"content":{"email":{"subject":"s","html":"h"}},"to":[{"user_id":"u"},{"email":"bob@example.com","name":"Bob"}],"data":{"n":1.5,"film":"Solaris"},
			  "expires_at":"2026-12-02T09:00:00Z","priority":"high","provider":"smtp","on_unknown":"skip","tags":["x"],"metadata":{"order":"17"}}`,
			`{"content":{"email":{"subject":"s","html":"h"}},"to":[{"user_id":"u"},{"email":"bob@example.com","name":"Bob"}],"data":{"film":"Solaris","n":15e-1},
			  "expires_at":"2026-12-02T11:00:00+02:00","priority":"high","provider":"smtp","on_unknown":"skip","tags":["x"],"metadata":{"order":"17"}}`,
		},
	} {
		for _, text := range same {
			var r notificationRequest
			require.NoError(t, json.Unmarshal([]byte(text), &r))
			got, err := hash(&r)
			require.NoError(t, err)
			require.Equal(t, want, got, text)
		}
	}
}
