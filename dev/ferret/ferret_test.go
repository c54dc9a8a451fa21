package ferret_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/belfry-notify/belfry/dev/ferret"
)

// The tests do not run side by side: two FerretDBs in one process race for a
// package variable of theirs.

func TestFindByIDUsesTheIndex(t *testing.T) {
	dir := t.TempDir()
	db := connect(t, start(t, dir))
	for _, name := range []string{"deliveries", "Claims-2"} {
		_, err := db.Collection(name).InsertOne(t.Context(), bson.D{{Key: "_id", Value: "a"}})
		require.NoError(t, err)
		requireIndex(t, dir, name)
	}
}

func requireIndex(t *testing.T, dir, collection string) {
	t.Helper()
	require.Eventually(t, func() bool {
		plan := queryPlan(t, dir, collection)
		return strings.Contains(plan, "USING INDEX") && strings.HasSuffix(plan, "_belfry_id (<expr>=?)")
	}, 10*time.Second, 10*time.Millisecond, "the find goes on scanning")
}

// queryPlan is what SQLite would do for FerretDB's find by _id.
func queryPlan(t *testing.T, dir, collection string) string {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "belfry.sqlite")+"?_pragma=busy_timeout(10000)")
	require.NoError(t, err)
	defer db.Close()
	var table, plan string
	row := db.QueryRow(`SELECT table_name FROM _ferretdb_collections WHERE name = ?`, collection)
	require.NoError(t, row.Scan(&table))
	var n int
	query := fmt.Sprintf(`EXPLAIN QUERY PLAN SELECT _ferretdb_sjson FROM %q WHERE _ferretdb_sjson->'$._id' = ?`, table)
	require.NoError(t, db.QueryRow(query, `"a"`).Scan(&n, &n, &n, &plan))
	return plan
}

func TestIndexesThatNoQueryUsesAreNotKept(t *testing.T) {
	dir := t.TempDir()
	collection := connect(t, start(t, dir)).Collection("deliveries")
	_, err := collection.Indexes().CreateMany(t.Context(), []mongo.IndexModel{
		{Keys: bson.D{{Key: "user", Value: 1}, {Key: "at", Value: -1}}},
		{Keys: bson.D{{Key: "mail", Value: 1}}, Options: options.Index().SetUnique(true)},
	})
	require.NoError(t, err)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "belfry.sqlite")+"?_pragma=busy_timeout(10000)")
	require.NoError(t, err)
	defer db.Close()
	require.Eventually(t, func() bool {
		var all, unique int
		row := db.QueryRow(`SELECT count(*), sum(sql LIKE 'CREATE UNIQUE%') FROM sqlite_schema WHERE type = 'index' AND sql LIKE '%deliveries%'`)
		return row.Scan(&all, &unique) == nil && all == 2 && unique == 2 // on _id and on mail
	}, 10*time.Second, 10*time.Millisecond)
	for range 2 { // FerretDB goes on as if they were there
		_, err = collection.Indexes().CreateOne(t.Context(), mongo.IndexModel{Keys: bson.D{{Key: "user", Value: 1}, {Key: "at", Value: -1}}})
		require.NoError(t, err)
	}
	_, err = collection.InsertOne(t.Context(), bson.D{{Key: "_id", Value: "a"}, {Key: "mail", Value: "m"}})
	require.NoError(t, err)
	_, err = collection.InsertOne(t.Context(), bson.D{{Key: "_id", Value: "b"}, {Key: "mail", Value: "m"}})
	require.True(t, mongo.IsDuplicateKeyError(err))
}

func TestDataSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	server := start(t, dir)
	db := connect(t, server)
	_, err := db.Collection("c").InsertOne(t.Context(), bson.D{{Key: "_id", Value: "a"}, {Key: "n", Value: 7}})
	require.NoError(t, err)
	require.NoError(t, db.Client().Disconnect(t.Context()))
	stop(t, server)

	var found struct{ N int }
	db = connect(t, start(t, dir))
	require.NoError(t, db.Collection("c").FindOne(t.Context(), bson.D{{Key: "_id", Value: "a"}}).Decode(&found))
	require.Equal(t, 7, found.N)
}

func TestOneOfManyInsertsWins(t *testing.T) {
	dir := t.TempDir()
	db := connect(t, start(t, dir))
	collection := db.Collection("claims")
	_, err := collection.InsertOne(t.Context(), bson.D{{Key: "_id", Value: "first"}})
	require.NoError(t, err)
	const inserters, claims = 20, 20
	for claim := range claims {
		if claim == claims/2 { // whichever of the two indexes keeps them apart
			requireIndex(t, dir, "claims")
		}
		var wins, duplicates atomic.Int32
		var group sync.WaitGroup
		for inserter := range inserters {
			group.Go(func() {
				_, err := collection.InsertOne(t.Context(), bson.D{
					{Key: "_id", Value: fmt.Sprintf("delivery#%d", claim)}, {Key: "token", Value: inserter},
				})
				switch {
				case err == nil:
					wins.Add(1)
				case mongo.IsDuplicateKeyError(err):
					duplicates.Add(1)
				default:
					t.Errorf("insert: %v", err)
				}
			})
		}
		group.Wait()
		require.EqualValues(t, 1, wins.Load())
		require.EqualValues(t, inserters-1, duplicates.Load())
	}
}

func TestWhatAKillLeavesIsRepaired(t *testing.T) {
	dir := t.TempDir()
	server := start(t, dir)
	db := connect(t, server)
	_, err := db.Collection("kept").InsertOne(t.Context(), bson.D{{Key: "_id", Value: "a"}})
	require.NoError(t, err)
	require.NoError(t, db.Client().Disconnect(t.Context()))
	stop(t, server)
	change(t, filepath.Join(dir, "belfry.sqlite"),
		`CREATE TABLE "unknown_01234567" (_ferretdb_sjson TEXT)`,
		`CREATE TABLE "begun_01234567" (_ferretdb_sjson TEXT)`,
		`INSERT INTO _ferretdb_collections VALUES ('begun', 'begun_01234567', '{}')`)
	change(t, filepath.Join(dir, "empty.sqlite"), `PRAGMA journal_mode = wal`)

	db = connect(t, start(t, dir))
	names, err := db.ListCollectionNames(t.Context(), bson.D{})
	require.NoError(t, err)
	require.Equal(t, []string{"kept"}, names)
	for _, name := range []string{"kept", "unknown", "begun"} {
		_, err = db.Collection(name).InsertOne(t.Context(), bson.D{{Key: "_id", Value: "b"}})
		require.NoError(t, err)
	}
	_, err = db.Client().Database("empty").Collection("c").InsertOne(t.Context(), bson.D{{Key: "_id", Value: "b"}})
	require.NoError(t, err)
}

func change(t *testing.T, file string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file)
	require.NoError(t, err)
	defer db.Close()
	for _, statement := range statements {
		_, err := db.Exec(statement)
		require.NoError(t, err)
	}
}

func start(t testing.TB, dir string) *ferret.Server {
	t.Helper()
	server, err := ferret.Start(ferret.Config{Dir: dir, Addr: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { stop(t, server) })
	return server
}

func stop(t testing.TB, server *ferret.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(t, server.Stop(ctx))
}

func connect(t testing.TB, server *ferret.Server) *mongo.Database {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(server.URI("belfry")))
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	return client.Database("belfry")
}

// BenchmarkMixed inserts, finds and updates by _id, 50 at a time, in a
// collection of 5,000 documents.
func BenchmarkMixed(b *testing.B) {
	collection := connect(b, start(b, b.TempDir())).Collection("deliveries")
	var documents []any
	for i := range 5000 {
		documents = append(documents, bson.D{{Key: "_id", Value: fmt.Sprintf("old-%d", i)}, {Key: "pad", Value: strings.Repeat("p", 300)}})
	}
	_, err := collection.InsertMany(b.Context(), documents)
	require.NoError(b, err)
	var next atomic.Int64
	b.SetParallelism(25)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			byID := bson.D{{Key: "_id", Value: fmt.Sprintf("new-%d", next.Add(1))}}
			_, err := collection.InsertOne(b.Context(), append(byID, bson.E{Key: "pad", Value: strings.Repeat("p", 300)}))
			require.NoError(b, err)
			require.NoError(b, collection.FindOne(b.Context(), byID).Err())
			_, err = collection.UpdateOne(b.Context(), byID, bson.D{{Key: "$set", Value: bson.D{{Key: "state", Value: "sent"}}}})
			require.NoError(b, err)
		}
	})
	b.ReportMetric(3*float64(b.N)/b.Elapsed().Seconds(), "operations/s")
}
