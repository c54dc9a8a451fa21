package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"github.com/belfry-notify/belfry/internal/mongotest"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/store"
)

func open(t *testing.T) *store.Store {
	t.Helper()
	uri := mongotest.NewURI(t)
	s := reopen(t, uri)
	require.NoError(t, s.EnsureIndexes(t.Context(), slog.New(slog.DiscardHandler)))
	return s
}

func reopen(t *testing.T, uri string) *store.Store {
	t.Helper()
	s, err := store.Open(uri)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close(t.Context())) })
	return s
}

// collection is one of a database as it is stored.
func collection(t *testing.T, uri, name string) *mongo.Collection {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Disconnect(context.WithoutCancel(t.Context()))) })
	cs, err := connstring.ParseAndValidate(uri)
	require.NoError(t, err)
	return client.Database(cs.Database).Collection(name)
}

func template(name, subject string) *notify.Template {
	return &notify.Template{Name: name, CreatedAt: now(), Channels: notify.Bodies{Email: &notify.Email{Subject: subject, HTML: "<p>"}}}
}

func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

func TestTemplateVersionsAreImmutableAndCounted(t *testing.T) {
	t.Parallel()
	uri := mongotest.NewURI(t)
	s, other := reopen(t, uri), reopen(t, uri)
	ctx := t.Context()

	first := template("welcome", "one")
	require.NoError(t, s.CreateTemplate(ctx, first))
	require.Equal(t, 1, first.Version)
	require.Equal(t, notify.CodeConflict, notify.CodeOf(s.CreateTemplate(ctx, template("welcome", "again"))))

	for version := 2; version <= 9; version++ {
		next := template("welcome", fmt.Sprint(version))
		require.NoError(t, s.UpdateTemplate(ctx, next))
		require.Equal(t, version, next.Version)
	}
	for _, process := range []*store.Store{s, other} { // the other one has seen none of them
		newest, err := process.VisibleTemplate(ctx, "welcome", 0)
		require.NoError(t, err)
		require.Equal(t, 9, newest.Version)
		old, err := process.VisibleTemplate(ctx, "welcome", 1)
		require.NoError(t, err)
		require.Equal(t, first, old)
	}

	require.NoError(t, other.DeleteTemplate(ctx, "welcome", now()))
	for _, process := range []*store.Store{s, other} {
		_, err := process.VisibleTemplate(ctx, "welcome", 0)
		require.Equal(t, notify.CodeTemplateNotFound, notify.CodeOf(err))
		require.Equal(t, notify.CodeTemplateNotFound, notify.CodeOf(process.DeleteTemplate(ctx, "welcome", now())))
		require.Equal(t, notify.CodeTemplateNotFound, notify.CodeOf(process.UpdateTemplate(ctx, template("welcome", "x"))))
		kept, err := process.Template(ctx, notify.TemplateRef{Name: "welcome", Version: 4})
		require.NoError(t, err, "those who were accepted with it still find it")
		require.Equal(t, "4", kept.Channels.Email.Subject)
	}

	anew := template("welcome", "anew")
	require.NoError(t, s.CreateTemplate(ctx, anew))
	require.Equal(t, 10, anew.Version)
	found, err := other.VisibleTemplate(ctx, "welcome", 0)
	require.NoError(t, err)
	require.Equal(t, anew, found)
}

func TestConcurrentUpdatesEachGetAVersion(t *testing.T) {
	t.Parallel()
	s := open(t)
	require.NoError(t, s.CreateTemplate(t.Context(), template("busy", "0")))
	const writers = 20
	var versions sync.Map
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			next := template("busy", fmt.Sprint(i))
			if err := s.UpdateTemplate(t.Context(), next); err != nil {
				t.Error(err)
				return
			}
			_, taken := versions.LoadOrStore(next.Version, i)
			if taken {
				t.Errorf("version %d was given twice", next.Version)
			}
		})
	}
	group.Wait()
	newest, err := s.VisibleTemplate(t.Context(), "busy", 0)
	require.NoError(t, err)
	require.Equal(t, writers+1, newest.Version)
}

func TestListTemplatesShowsTheNewestOfEach(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx := t.Context()
	for _, name := range []string{"c", "a", "b", "hidden"} {
		require.NoError(t, s.CreateTemplate(ctx, template(name, "1")))
	}
	require.NoError(t, s.UpdateTemplate(ctx, template("b", "2")))
	require.NoError(t, s.DeleteTemplate(ctx, "hidden", now()))

	first, err := s.ListTemplates(ctx, "", 2)
	require.NoError(t, err)
	rest, err := s.ListTemplates(ctx, "b", 10)
	require.NoError(t, err)

	require.Len(t, first, 2)
	require.Equal(t, "a", first[0].Name)
	require.Equal(t, notify.TemplateRef{Name: "b", Version: 2}, first[1].Ref())
	require.Len(t, rest, 1)
	require.Equal(t, "c", rest[0].Name)
}

func TestOneInserterOfAClaimWins(t *testing.T) {
	t.Parallel()
	s := open(t)
	id := uuid.NewString()
	var winners atomic.Int32
	var winner atomic.Value
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			claim := &notify.Claim{ID: notify.ClaimID(id, 1), DeliveryID: id, Number: 1, Token: uuid.NewString(), At: now()}
			switch err := s.InsertClaim(t.Context(), claim); notify.CodeOf(err) {
			case "":
				winners.Add(1)
				winner.Store(claim.Token)
			case notify.CodeConflict:
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	require.EqualValues(t, 1, winners.Load())

	outcome := notify.ClaimOutcome{Kind: notify.OutcomeTransient, At: now(), Error: "451 later"}
	require.NoError(t, s.RecordOutcome(t.Context(), notify.ClaimID(id, 1), outcome))
	claim, err := s.Claim(t.Context(), notify.ClaimID(id, 1))
	require.NoError(t, err)
	require.Equal(t, winner.Load(), claim.Token)
	require.Equal(t, &outcome, claim.Outcome)
	_, err = s.Claim(t.Context(), notify.ClaimID(id, 2))
	require.Equal(t, notify.CodeNotFound, notify.CodeOf(err))
}

// record is a notification with everything in it that could suffer in storage.
func record(at time.Time) *notify.Record {
	return &notify.Record{
		Notification: notify.Notification{
			ID:       uuid.Must(uuid.NewV7()).String(),
			Template: &notify.TemplateRef{Name: "welcome", Version: 1},
			To:       []notify.Recipient{{UserID: "u"}, {Email: "ann@example.com", Name: "Ann Ünicode"}},
			Channels: []notify.Channel{notify.ChannelEmail},
			Data:     `{"a.b":{"$c":12345678901234567890},"d":[]}`,
			Tags:     []string{"one", "two"}, Metadata: `{"order.id":"$17"}`,
			CreatedAt: at, SendAt: at, ExpiresAt: at.Add(time.Hour),
		},
		Progress: notify.Progress{Status: notify.StatusSending, Counts: notify.Counts{Total: 2, Queued: 2}},
	}
}

func TestNotificationsComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	s := open(t)
	want := record(now())
	require.NoError(t, s.InsertNotification(t.Context(), want))
	require.Equal(t, notify.CodeConflict, notify.CodeOf(s.InsertNotification(t.Context(), want)))

	got, err := s.Notification(t.Context(), want.ID)
	require.NoError(t, err)
	require.Equal(t, want, got)

	finished := now()
	want.Progress = notify.Progress{Status: notify.StatusDone, Counts: notify.Counts{Total: 2, Sent: 2}, FinishedAt: &finished}
	require.NoError(t, s.UpdateProgress(t.Context(), want.ID, want.Progress))
	got, err = s.Notification(t.Context(), want.ID)
	require.NoError(t, err)
	require.Equal(t, want, got)

	require.Equal(t, notify.CodeNotFound, notify.CodeOf(s.UpdateProgress(t.Context(), uuid.NewString(), want.Progress)))
}

func TestNotificationsAreListedNewestFirst(t *testing.T) {
	t.Parallel()
	s := open(t)
	start := now().Add(-time.Hour)
	var all []*notify.Record
	for i := range 5 {
		r := record(start.Add(time.Duration(i/2) * time.Minute)) // pairs of the same moment
		if i == 3 {
			r.Status, r.Tags, r.Template.Name = notify.StatusDone, []string{"rare"}, "other"
		}
		all = append(all, r)
		require.NoError(t, s.InsertNotification(t.Context(), r))
	}

	var seen []string
	var after *store.Position
	for {
		page, err := s.Notifications(t.Context(), store.NotificationQuery{After: after, Limit: 2})
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			require.Empty(t, r.To, "a listing does not carry recipients")
			seen = append(seen, r.ID)
		}
		last := page[len(page)-1]
		after = &store.Position{CreatedAt: last.CreatedAt, ID: last.ID}
	}
	require.Equal(t, []string{all[4].ID, all[3].ID, all[2].ID, all[1].ID, all[0].ID}, seen)

	for name, q := range map[string]store.NotificationQuery{
		"status":   {Status: notify.StatusDone},
		"template": {Template: "other"},
		"tag":      {Tag: "rare"},
		"time":     {From: start.Add(time.Minute), To: start.Add(2 * time.Minute), Tag: "rare"},
	} {
		q.Limit = 10
		found, err := s.Notifications(t.Context(), q)
		require.NoError(t, err, name)
		require.Len(t, found, 1, name)
		require.Equal(t, all[3].ID, found[0].ID, name)
	}
}

func TestDeliveriesAreFoundByWhomTheyWent(t *testing.T) {
	t.Parallel()
	s := open(t)
	notification := uuid.NewString()
	sent := now()
	delivery := func(i int, state notify.State) *notify.Delivery {
		return &notify.Delivery{
			ID: fmt.Sprintf("%08d-0000-5000-8000-000000000000", i), NotificationID: notification, UserID: fmt.Sprint("user", i%2),
			Channel: notify.ChannelEmail, Address: fmt.Sprintf("u%d@example.com", i%2), State: state,
			Attempts: []notify.Attempt{{At: sent, Provider: "smtp"}}, CreatedAt: sent.Add(time.Duration(i) * time.Second), SentAt: &sent, Claim: 1,
		}
	}
	for i := range 4 {
		state := notify.StateSent
		if i == 3 {
			state = notify.StateFailed
		}
		require.NoError(t, s.InsertDelivery(t.Context(), delivery(i, state)))
	}
	require.Equal(t, notify.CodeConflict, notify.CodeOf(s.InsertDelivery(t.Context(), delivery(0, notify.StateSent))))

	got, err := s.Delivery(t.Context(), delivery(2, notify.StateSent).ID)
	require.NoError(t, err)
	require.Equal(t, delivery(2, notify.StateSent), got)

	of, err := s.DeliveriesOf(t.Context(), notification, delivery(0, "").ID, "", 2)
	require.NoError(t, err)
	require.Equal(t, []notify.Delivery{*delivery(1, notify.StateSent), *delivery(2, notify.StateSent)}, of)

	user, err := s.Deliveries(t.Context(), store.DeliveryQuery{UserID: "user1", Limit: 10})
	require.NoError(t, err)
	require.Len(t, user, 2)
	require.Equal(t, delivery(3, notify.StateFailed).ID, user[0].ID, "newest first")
	failed, err := s.Deliveries(t.Context(), store.DeliveryQuery{Address: "u1@example.com", State: notify.StateFailed, Limit: 10})
	require.NoError(t, err)
	require.Len(t, failed, 1)

	anyCase, err := s.Deliveries(t.Context(), store.DeliveryQuery{Address: "U1@Example.COM", Limit: 10})
	require.NoError(t, err)
	require.Len(t, anyCase, 2)

	other := &notify.Delivery{ID: uuid.NewString(), NotificationID: uuid.NewString(), State: notify.StateSkipped}
	require.NoError(t, s.InsertDelivery(t.Context(), other))
	each, err := s.CountEndedOf(t.Context(), []string{notification, other.NotificationID, uuid.NewString()})
	require.NoError(t, err)
	require.Equal(t, map[string]notify.Counts{
		notification: {Total: 4, Sent: 3, Failed: 1}, other.NotificationID: {Total: 1, Skipped: 1},
	}, each)
	counts, err := s.CountEnded(t.Context(), notification)
	require.NoError(t, err)
	require.Equal(t, notify.Counts{Total: 4, Sent: 3, Failed: 1}, counts)

	changed := delivery(3, notify.StateUnknown)
	changed.Resent = true
	require.NoError(t, s.ReplaceDelivery(t.Context(), changed))
	got, err = s.Delivery(t.Context(), changed.ID)
	require.NoError(t, err)
	require.Equal(t, changed, got)
	anyCase, err = s.Deliveries(t.Context(), store.DeliveryQuery{Address: "U1@example.com", State: notify.StateUnknown, Limit: 10})
	require.NoError(t, err)
	require.Len(t, anyCase, 1, "found after it was replaced, too")
}

func TestAnAbsentServerIsUnavailableWithinSeconds(t *testing.T) {
	t.Parallel()
	s := reopen(t, "mongodb://127.0.0.1:1/belfry")
	began := time.Now()
	_, err := s.Notification(t.Context(), uuid.NewString())
	require.Equal(t, notify.CodeUnavailable, notify.CodeOf(err))
	require.Less(t, time.Since(began), 5*time.Second)
}

func TestAURIThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	_, err := store.Open("mongodb://")
	require.Error(t, err)
}

func TestInsertsThatComeTogetherEachKnowTheirOwnFate(t *testing.T) {
	t.Parallel()
	s := open(t)
	const inserters = 200
	errs := make([]error, inserters)
	var group sync.WaitGroup
	for i := range inserters {
		group.Go(func() { // every id is wanted by two
			errs[i] = s.InsertDelivery(t.Context(), &notify.Delivery{ID: fmt.Sprintf("d%d", i/2), NotificationID: "n", State: notify.StateSent})
		})
	}
	group.Wait()
	for i := 0; i < inserters; i += 2 {
		require.ElementsMatch(t, []notify.Code{"", notify.CodeConflict}, []notify.Code{notify.CodeOf(errs[i]), notify.CodeOf(errs[i+1])})
	}
	counts, err := s.CountEnded(t.Context(), "n")
	require.NoError(t, err)
	require.Equal(t, inserters/2, counts.Sent)
}

func TestUpdatesThatComeTogetherEachKnowTheirOwnFate(t *testing.T) {
	t.Parallel()
	s := open(t)
	const updaters = 40
	ids := make([]string, updaters)
	for i := range ids {
		r := record(now())
		ids[i] = r.ID
		if i%4 > 0 { // one in four is not there
			require.NoError(t, s.InsertNotification(t.Context(), r))
		}
	}
	var group sync.WaitGroup
	errs := make([]error, updaters)
	for i, id := range ids {
		group.Go(func() {
			errs[i] = s.UpdateProgress(t.Context(), id, notify.Progress{Status: notify.StatusDone, Counts: notify.Counts{Total: i}})
		})
	}
	group.Wait()
	for i, id := range ids {
		if i%4 == 0 {
			require.Equal(t, notify.CodeNotFound, notify.CodeOf(errs[i]))
			continue
		}
		require.NoError(t, errs[i])
		kept, err := s.Notification(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, i, kept.Counts.Total)
	}
}
