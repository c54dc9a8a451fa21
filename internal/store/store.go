// Package store keeps templates, schedules, triggers, notifications, claims,
// deliveries and API keys in MongoDB.
//
// On the hot path it only inserts, finds and updates by a lone string _id, and
// each document is updated by one writer: no upserts, no transactions, no
// compare-and-set. An insert decides who may act; see the package activities.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/schedule"
	"github.com/belfry-notify/belfry/internal/trigger"
)

// defaultDatabase is used when the URI names none.
const defaultDatabase = "belfry"

// patience bounds one operation, server selection included, unless the
// caller's context has a deadline of its own.
const patience = 4 * time.Second

// A Store is a connection to one MongoDB database. It is safe for concurrent
// use.
type Store struct {
	client        *mongo.Client
	notifications *mongo.Collection
	deliveries    *mongo.Collection
	claims        *mongo.Collection
	pages         *mongo.Collection // counts, of notifications that run
	chunks        *mongo.Collection
	erasures      *mongo.Collection
	runs          *mongo.Collection
	keys          *mongo.Collection
	events        *mongo.Collection
	audiences     *mongo.Collection
	audiencePages *mongo.Collection
	leases        *mongo.Collection
	inbox         *mongo.Collection
	inboxChanges  *mongo.Collection
	untold        *mongo.Collection
	outcomes      Outcomes // nil: nobody is told
	apiKeys       *mongo.Collection
	apiKeyUses    *mongo.Collection
	presence      *mongo.Collection
	secrets       *mongo.Collection
	tickets       *mongo.Collection

	insertNotification *inserter
	insertDelivery     *inserter
	insertClaim        *inserter
	insertChunk        *inserter
	insertDeliveries   *bulkInserter
	insertEvent        *inserter
	insertItem         *inserter
	insertChange       *inserter
	updateItem         *gatherer[*itemDocument, struct{}]
	updates            *gatherer[notificationUpdate, struct{}]

	templates *versionLog[notify.Template]
	schedules *versionLog[schedule.Schedule]
	triggers  *versionLog[trigger.Definition]

	learning, recounting *chores

	packer *packer

	recent *lru.Cache[string, *notify.Notification] // small ones, as accepted
}

// How many versions of templates, schedules and triggers are kept in memory.
// Triggers are listed every two seconds.
const (
	cachedTemplates = 512
	cachedSchedules = 128
	cachedTriggers  = 1024
)

// The notifications kept in memory until their worker asks for them: how many,
// and to how many recipients at most. With 64 KiB of data each, the most there
// may be, they take 16 MiB.
const (
	maxRecent           = 256
	maxRecentRecipients = 10
)

// Open prepares a connection to the database that the MongoDB URI names; it
// does not wait for the server. Writes ask for a majority and the journal,
// reads go to the primary.
func Open(uri string) (*Store, error) {
	cs, err := connstring.ParseAndValidate(uri)
	if err != nil {
		return nil, fmt.Errorf("parse MongoDB URI: %w", err)
	}
	database := cs.Database
	if database == "" {
		database = defaultDatabase
	}
	journal := true
	client, err := mongo.Connect(options.Client().
		ApplyURI(uri).
		SetAppName("belfry").
		SetTimeout(patience).
		SetServerSelectionTimeout(patience - time.Second).
		SetReadPreference(readpref.Primary()).
		SetWriteConcern(&writeconcern.WriteConcern{W: "majority", Journal: &journal}).
		SetBSONOptions(&options.BSONOptions{UseJSONStructTags: true, NilSliceAsEmpty: true}))
	if err != nil {
		return nil, fmt.Errorf("connect to MongoDB: %w", err)
	}
	recent, err := lru.New[string, *notify.Notification](maxRecent)
	if err != nil {
		return nil, err
	}
	db := client.Database(database)
	s := &Store{
		client:        client,
		notifications: db.Collection("notifications"),
		deliveries:    db.Collection("deliveries"),
		claims:        db.Collection("claims"),
		pages:         db.Collection("pages"),
		chunks:        db.Collection("chunks"),
		erasures:      db.Collection("erasures"),
		runs:          db.Collection("runs"),
		keys:          db.Collection("keys"),
		events:        db.Collection("events"),
		audiences:     db.Collection("audiences"),
		audiencePages: db.Collection("audience_pages"),
		leases:        db.Collection("leases"),
		inbox:         db.Collection("inbox"),
		inboxChanges:  db.Collection("inbox_changes"),
		untold:        db.Collection("untold"),
		apiKeys:       db.Collection("api_keys"),
		apiKeyUses:    db.Collection("api_key_uses"),
		presence:      db.Collection("presence"),
		secrets:       db.Collection("secrets"),
		tickets:       db.Collection("tickets"),
		recent:        recent,
	}
	if s.packer, err = newPacker(); err != nil {
		return nil, err
	}
	s.insertNotification = newInserter(s.notifications, direct)
	s.insertDelivery = newInserter(s.deliveries, direct)
	s.insertClaim = newInserter(s.claims, direct)
	s.insertEvent = newInserter(s.events, direct)
	s.insertChunk = newInserter(s.chunks, bulk)
	s.insertDeliveries = newBulkInserter(s.insertDelivery)
	s.insertItem = newInserter(s.inbox, mixed)
	s.insertItem.call = s.insertStamped
	s.insertChange = newInserter(s.inboxChanges, direct)
	s.updateItem = &gatherer[*itemDocument, struct{}]{call: s.updateItems, most: maxGathered, pace: direct}
	s.updates = &gatherer[notificationUpdate, struct{}]{call: s.updateAll, most: maxGathered, pace: direct}
	s.newChores()
	s.templates, err = newVersionLog[notify.Template](db.Collection("templates"), "template", notify.CodeTemplateNotFound, cachedTemplates)
	if err != nil {
		return nil, err
	}
	s.schedules, err = newVersionLog[schedule.Schedule](db.Collection("schedules"), "schedule", notify.CodeNotFound, cachedSchedules)
	if err != nil {
		return nil, err
	}
	s.triggers, err = newVersionLog[trigger.Definition](db.Collection("triggers"), "trigger", notify.CodeNotFound, cachedTriggers)
	return s, err
}

// Close ends the connection; operations in flight and what is put off may finish
// until ctx ends.
func (s *Store) Close(ctx context.Context) error {
	s.learning.close(ctx)
	s.recounting.close(ctx)
	return s.client.Disconnect(ctx)
}

// Ping asks whether the server answers.
func (s *Store) Ping(ctx context.Context) error {
	return unavailable("ping MongoDB", s.client.Ping(ctx, readpref.Primary()))
}

// EnsureIndexes creates the indexes that the queries of this package want. Those
// that the server does not implement are logged and left out: their queries scan
// then, or what expires is kept.
func (s *Store) EnsureIndexes(ctx context.Context, log *slog.Logger) error {
	wanted := map[*mongo.Collection][]bson.D{
		s.deliveries: {
			{{Key: "notification_id", Value: 1}, {Key: "_id", Value: 1}},
			{{Key: "user_id", Value: 1}, {Key: "created_at", Value: -1}, {Key: "_id", Value: -1}},
			{{Key: "address_key", Value: 1}, {Key: "created_at", Value: -1}, {Key: "_id", Value: -1}},
			{{Key: "state", Value: 1}, {Key: "created_at", Value: -1}, {Key: "_id", Value: -1}},
			{{Key: "created_at", Value: -1}, {Key: "_id", Value: -1}},
		},
		s.notifications: {
			{{Key: "created_at", Value: -1}, {Key: "_id", Value: -1}},
			{{Key: "tags", Value: 1}, {Key: "created_at", Value: -1}, {Key: "_id", Value: -1}},
			{{Key: "status", Value: 1}, {Key: "created_at", Value: -1}, {Key: "_id", Value: -1}},
		},
		s.events: {
			{{Key: "delivery_id", Value: 1}},
		},
		s.pages: {
			{{Key: "notification_id", Value: 1}},
		},
		s.inbox: {
			{{Key: "user_id", Value: 1}, {Key: "_id", Value: 1}},
			{{Key: "user_id", Value: 1}, {Key: "read_at", Value: 1}, {Key: "archived_at", Value: 1}, {Key: "_id", Value: 1}},
			{{Key: "user_id", Value: 1}, {Key: "stored_at", Value: 1}, {Key: "_id", Value: 1}},
		},
		s.presence: {
			{{Key: "user_id", Value: 1}},
			{{Key: "gateway", Value: 1}},
		},
		s.templates.in: {
			{{Key: "name", Value: 1}, {Key: "version", Value: -1}},
		},
		s.schedules.in: {
			{{Key: "name", Value: 1}, {Key: "version", Value: -1}},
		},
		s.triggers.in: {
			{{Key: "name", Value: 1}, {Key: "version", Value: -1}},
		},
		s.runs: {
			{{Key: "schedule", Value: 1}, {Key: "scheduled_at", Value: -1}},
		},
	}
	models := map[*mongo.Collection][]mongo.IndexModel{}
	for collection, keys := range wanted {
		for _, key := range keys {
			models[collection] = append(models[collection], mongo.IndexModel{Keys: key})
		}
	}
	for _, collection := range []*mongo.Collection{s.audiences, s.audiencePages, s.pages, s.leases} {
		models[collection] = append(models[collection], expiry(0))
	}
	models[s.tickets] = append(models[s.tickets], expiry(ticketRetention))
	var lacking []string
	for collection, all := range models {
		for _, model := range all {
			_, err := collection.Indexes().CreateOne(ctx, model)
			if isNotImplemented(err) {
				lacking = append(lacking, fmt.Sprintf("%s %v", collection.Name(), model.Keys))
			} else if err != nil {
				return unavailable("create an index on "+collection.Name(), err)
			}
		}
	}
	if lacking != nil {
		slices.Sort(lacking)
		log.WarnContext(ctx, "going on without indexes that this server does not implement", "indexes", lacking)
	}
	return nil
}

// expiry is the index by which a server deletes what has expired for so long.
func expiry(after time.Duration) mongo.IndexModel {
	return mongo.IndexModel{
		Keys:    bson.D{{Key: "expires_at", Value: 1}},
		Options: options.Index().SetExpireAfterSeconds(int32(after.Seconds())),
	}
}

// notImplemented is MongoDB's error code for what a server lacks.
const notImplemented = 238

func isNotImplemented(err error) bool {
	var command mongo.CommandError
	return errors.As(err, &command) && command.Code == notImplemented
}

// unavailable wraps an error of the driver: whatever it was, trying again can
// help. It is nil for nil.
func unavailable(doing string, err error) error {
	if err == nil {
		return nil
	}
	return &notify.Error{Code: notify.CodeUnavailable, Detail: doing, Err: err}
}

// insert adds a document under its own _id; CodeConflict when that id is taken.
func insert(ctx context.Context, to *mongo.Collection, document any) error {
	_, err := to.InsertOne(ctx, document)
	return insertError(to, err)
}

// insertError is what an insert came to.
func insertError(to *mongo.Collection, err error) error {
	if mongo.IsDuplicateKeyError(err) {
		return &notify.Error{Code: notify.CodeConflict, Detail: "insert into " + to.Name(), Err: err}
	}
	return unavailable("insert into "+to.Name(), err)
}

// find reads the document with the id; CodeNotFound when there is none.
func find[T any](ctx context.Context, in *mongo.Collection, id string) (*T, error) {
	var document T
	err := in.FindOne(ctx, bson.D{{Key: "_id", Value: id}}).Decode(&document)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, &notify.Error{Code: notify.CodeNotFound, Detail: fmt.Sprintf("no %q in %s", id, in.Name())}
	}
	if err != nil {
		return nil, unavailable("find in "+in.Name(), err)
	}
	return &document, nil
}

// list runs a query and decodes all it finds.
func list[T any](ctx context.Context, in *mongo.Collection, filter bson.D, opts *options.FindOptionsBuilder) ([]T, error) {
	return onceMore(func() ([]T, error) {
		cursor, err := in.Find(ctx, filter, opts)
		if err != nil {
			return nil, unavailable("find in "+in.Name(), err)
		}
		documents := []T{}
		if err := cursor.All(ctx, &documents); err != nil {
			return nil, unavailable("read from "+in.Name(), err)
		}
		return documents, nil
	})
}

// cursorNotFound is MongoDB's error code for a cursor that the server has lost,
// as it does when another member becomes the primary.
const cursorNotFound = 43

// onceMore reads again where the server lost the cursor half-way.
func onceMore[T any](read func() ([]T, error)) ([]T, error) {
	documents, err := read()
	var command mongo.CommandError
	if errors.As(err, &command) && command.Code == cursorNotFound {
		return read()
	}
	return documents, err
}
