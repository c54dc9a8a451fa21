package store

import (
	"context"
	"crypto/rand"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/belfry-notify/belfry/internal/notify"
)

// A presence says that a user has an open socket at a gateway, which alone
// inserts and deletes it.
type presence struct {
	ID      string    `json:"id" bson:"_id"` // <gateway>/<user>
	UserID  string    `json:"user_id"`
	Gateway string    `json:"gateway"`
	Since   time.Time `json:"since"`
}

func presenceID(gateway, userID string) string { return gateway + "/" + userID }

// InsertPresence notes that users have open sockets at a gateway.
func (s *Store) InsertPresence(ctx context.Context, gateway string, userIDs []string, at time.Time) error {
	documents := make([]any, len(userIDs))
	for i, userID := range userIDs {
		documents[i] = presence{ID: presenceID(gateway, userID), UserID: userID, Gateway: gateway, Since: at}
	}
	for _, r := range newInserter(s.presence, direct).insertAll(ctx, documents) {
		if r.err != nil && notify.CodeOf(r.err) != notify.CodeConflict { // it is there from before
			return r.err
		}
	}
	return nil
}

// DeletePresence notes that users have no open socket at a gateway any more.
func (s *Store) DeletePresence(ctx context.Context, gateway string, userIDs []string) error {
	models := make([]mongo.WriteModel, len(userIDs))
	for i, userID := range userIDs {
		models[i] = mongo.NewDeleteOneModel().SetFilter(bson.D{{Key: "_id", Value: presenceID(gateway, userID)}})
	}
	_, err := s.presence.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	return unavailable("delete from "+s.presence.Name(), err)
}

// Presence lists the users who have open sockets at a gateway.
func (s *Store) Presence(ctx context.Context, gateway string) ([]string, error) {
	found, err := list[presence](ctx, s.presence, bson.D{{Key: "gateway", Value: gateway}}, options.Find())
	userIDs := make([]string, len(found))
	for i, p := range found {
		userIDs[i] = p.UserID
	}
	return userIDs, err
}

// GatewaysOf finds the gateways at which users have open sockets, by user.
func (s *Store) GatewaysOf(ctx context.Context, userIDs []string) (map[string][]string, error) {
	found, err := list[presence](ctx, s.presence, bson.D{{Key: "user_id", Value: bson.D{{Key: "$in", Value: userIDs}}}}, options.Find())
	gateways := make(map[string][]string, len(found))
	for _, p := range found {
		gateways[p.UserID] = append(gateways[p.UserID], p.Gateway)
	}
	return gateways, err
}

// EndPresence deletes what stands of a gateway that stops.
func (s *Store) EndPresence(ctx context.Context, gateway string) error {
	_, err := s.presence.DeleteMany(ctx, bson.D{{Key: "gateway", Value: gateway}})
	return unavailable("delete from "+s.presence.Name(), err)
}

// ForgetGateways deletes what stands of gateways other than those that live and
// is from before a moment: they have died.
func (s *Store) ForgetGateways(ctx context.Context, alive []string, before time.Time) error {
	_, err := s.presence.DeleteMany(ctx, bson.D{
		{Key: "gateway", Value: bson.D{{Key: "$nin", Value: alive}}},
		{Key: "since", Value: bson.D{{Key: "$lt", Value: before}}},
	})
	return unavailable("delete from "+s.presence.Name(), err)
}

// gatewaySecret is where the secret is that Belfry's processes share.
const gatewaySecret = "gateway"

type secret struct {
	ID    string `json:"id" bson:"_id"`
	Value string `json:"value"`
}

// GatewaySecret is what Belfry's processes over this database show each other.
// Whoever asks first makes it up.
func (s *Store) GatewaySecret(ctx context.Context) (string, error) {
	found, err := find[secret](ctx, s.secrets, gatewaySecret)
	if notify.CodeOf(err) == notify.CodeNotFound {
		err = insert(ctx, s.secrets, secret{ID: gatewaySecret, Value: rand.Text()})
		if err == nil || notify.CodeOf(err) == notify.CodeConflict { // somebody else was first
			found, err = find[secret](ctx, s.secrets, gatewaySecret)
		}
	}
	if err != nil {
		return "", err
	}
	return found.Value, nil
}
