package ferret

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/FerretDB/FerretDB/ferretdb"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func TestVariants(t *testing.T) {
	v := os.Getenv("VARIANT")
	dir := t.TempDir()
	u := url.URL{Scheme: "file", Path: dir + "/"}
	us := u.String()
	if v != "stock" {
		us = sqliteURL(dir)
	}
	log := slog.New(slog.DiscardHandler)
	e, err := ferretdb.New(&ferretdb.Config{Listener: ferretdb.ListenerConfig{TCP: "127.0.0.1:0"}, Logger: log, Handler: "sqlite", SQLiteURL: us})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go e.Run(ctx)
	client, err := mongo.Connect(options.Client().ApplyURI(e.MongoDBURI()))
	require.NoError(t, err)
	c := client.Database("belfry").Collection("c")
	_, err = c.InsertOne(ctx, bson.D{{Key: "_id", Value: "x"}})
	require.NoError(t, err)
	if v == "index" || v == "drop" {
		require.NoError(t, newIndexer(dir, log).look(ctx))
	}
	if v == "drop" {
		db, err := open(dir + "/belfry.sqlite")
		require.NoError(t, err)
		ns, err := names(ctx, db, `select table_name from _ferretdb_collections`)
		require.NoError(t, err)
		for _, s := range []string{
			fmt.Sprintf(`drop index "%s_belfry_id"`, ns[0]),
			fmt.Sprintf(`create unique index "%s_belfry_id" on "%s" (%s)`, ns[0], ns[0], idExpression),
			fmt.Sprintf(`drop index "%s__id_"`, ns[0])} {
			_, err = db.Exec(s)
			require.NoError(t, err)
		}
		db.Close()
	}
	size := 300
	if os.Getenv("SIZE") == "big" {
		size = 3000
	}
	pad := strings.Repeat("p", size)
	// preload
	var docs []any
	for i := range 5000 {
		docs = append(docs, bson.D{{Key: "_id", Value: fmt.Sprintf("pre%d", i)}, {Key: "s", Value: pad}})
	}
	t0 := time.Now()
	_, err = c.InsertMany(ctx, docs)
	require.NoError(t, err)
	bulk := time.Since(t0)
	var ops, errs atomic.Int64
	var lastErr atomic.Value
	var wg sync.WaitGroup
	var n atomic.Int64
	end := time.Now().Add(10 * time.Second)
	for range 50 {
		wg.Go(func() {
			for time.Now().Before(end) {
				id := fmt.Sprintf("d%d", n.Add(1))
				_, err := c.InsertOne(ctx, bson.D{{Key: "_id", Value: id}, {Key: "s", Value: pad}, {Key: "state", Value: "queued"}})
				if err == nil {
					ops.Add(1)
					err = c.FindOne(ctx, bson.D{{Key: "_id", Value: id}}).Err()
				}
				if err == nil {
					ops.Add(1)
					_, err = c.UpdateOne(ctx, bson.D{{Key: "_id", Value: id}}, bson.D{{Key: "$set", Value: bson.D{{Key: "state", Value: "sent"}}}})
				}
				if err == nil {
					ops.Add(1)
				} else {
					errs.Add(1)
					lastErr.Store(err.Error())
				}
			}
		})
	}
	start := end.Add(-10 * time.Second)
	wg.Wait()
	t.Logf("%s: bulk insert %v/doc; %.0f ops/s, %d errors %v", v, bulk/5000, float64(ops.Load())/time.Since(start).Seconds(), errs.Load(), lastErr.Load())
}
