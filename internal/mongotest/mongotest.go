// Package mongotest gives tests a database of their own on the real server
// that `make test` starts.
package mongotest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// NewURI names a fresh database, which is dropped when the test ends.
func NewURI(t testing.TB) string {
	t.Helper()
	base := os.Getenv("BELFRY_MONGO_URI")
	require.NotEmpty(t, base, "this test needs MongoDB: run it with `make test`, or with `bin/stack exec -- go test ...`")
	u, err := url.Parse(base)
	require.NoError(t, err)
	name := "test_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	u.Path = "/" + name
	t.Cleanup(func() { drop(t, u.String(), name) })
	return u.String()
}

func drop(t testing.TB, uri, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err == nil {
		err = client.Database(name).Drop(ctx)
	}
	if err == nil {
		err = client.Disconnect(ctx)
	}
	if err != nil {
		t.Error(fmt.Errorf("drop the test's database: %w", err))
	}
}
