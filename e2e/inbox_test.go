package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

// filmNews is a template for both channels.
var filmNews = map[string]any{"name": "film-news", "channels": map[string]any{
	"email": map[string]any{"subject": "{{ film }} is on", "html": "<p>{{ film }}</p>"},
	"inbox": map[string]any{"title": "{{ film }} is on, {{ recipient.name }}", "body": "See <it>.", "url": "/films/{{ film | url_encode }}"},
}}

// An inbox is one as GET shows it.
type inbox struct {
	Items      []notify.Item `json:"items"`
	NextCursor string        `json:"next_cursor"`
	Unread     int           `json:"unread"`
}

func (b *belfry) inbox(userID string) inbox {
	b.t.Helper()
	var found inbox
	b.do(http.MethodGet, "/v1/users/"+userID+"/inbox?limit=200", http.StatusOK, nil, &found)
	require.Empty(b.t, found.NextCursor)
	return found
}

// itemDelivery is the delivery of an item.
type itemDelivery struct {
	notify.Delivery
	Content *notify.InboxContent `json:"content"`
}

func TestAnItemInAnInbox(t *testing.T) {
	t.Parallel()
	b := runAll(t)
	b.do(http.MethodPost, "/v1/templates", http.StatusCreated, filmNews, nil)
	domain := newDomain()
	id := b.send(map[string]any{
		"template": "film-news", "channels": []string{"email", "inbox"}, "data": map[string]any{"film": "Solaris & Co"},
		"to": []map[string]any{{"user_id": ann}, {"email": "bob@" + domain}, {"user_id": "nobody"}},
	})
	require.Equal(t, notify.Counts{Total: 6, Sent: 3, Failed: 3}, b.wait(id).Counts)
	require.Len(t, mails(t, domain), 1, "one who has no inbox has the mail all the same")
	reasons := map[string]notify.Reason{}
	for _, d := range b.deliveries(id) {
		reasons[string(d.Channel)+" "+d.UserID] = d.Reason
	}
	require.Equal(t, map[string]notify.Reason{
		"email " + ann: "", "inbox " + ann: "", "email ": "", "inbox ": notify.ReasonNoAddress,
		"email nobody": notify.ReasonUserNotFound, "inbox nobody": notify.ReasonUserNotFound,
	}, reasons)

	found := b.inbox(ann)
	require.Len(t, found.Items, 1)
	require.Equal(t, 1, found.Unread)
	item := found.Items[0]
	require.Equal(t, id, item.NotificationID)
	require.Equal(t, notify.InboxContent{Title: "Solaris & Co is on, Ann", Body: "See <it>.", URL: "/films/Solaris+%26+Co"},
		notify.InboxContent{Title: item.Title, Body: item.Body, URL: item.URL})
	require.JSONEq(t, `{"film":"Solaris & Co"}`, string(item.Data))
	require.WithinDuration(t, time.Now(), item.CreatedAt, patience)

	deliveryID := notify.DeliveryID(id, notify.ChannelInbox, notify.Recipient{UserID: ann})
	var d itemDelivery
	b.do(http.MethodGet, "/v1/deliveries/"+deliveryID, http.StatusOK, nil, &d)
	require.Equal(t, "inbox", d.Provider)
	require.Equal(t, item.ID, d.ProviderID)
	require.Equal(t, &notify.InboxContent{Title: item.Title, Body: item.Body, URL: item.URL}, d.Content)

	var read notify.Item
	b.do(http.MethodPost, "/v1/users/"+ann+"/inbox/"+item.ID+"/read", http.StatusOK, nil, &read)
	require.NotNil(t, read.ReadAt)
	require.Equal(t, 0, b.inbox(ann).Unread)

	// Tried again by hand, one who has no inbox still has none.
	failed := notify.DeliveryID(id, notify.ChannelInbox, notify.Recipient{Email: "bob@" + domain})
	b.do(http.MethodPost, "/v1/deliveries/"+failed+"/retry", http.StatusAccepted, nil, nil)
	b.eventually("it has failed again", func() bool {
		var d itemDelivery
		b.do(http.MethodGet, "/v1/deliveries/"+failed, http.StatusOK, nil, &d)
		return d.State == notify.StateFailed && len(d.Attempts) == 2
	})
	require.Equal(t, notify.Counts{Total: 6, Sent: 3, Failed: 3}, b.wait(id).Counts)

	free := b.send(map[string]any{
		"content": map[string]any{"inbox": map[string]any{"title": "{{ x }}", "body": "b", "url": "{{ url }}"}}, "channels": []string{"inbox"},
		"data": map[string]any{"x": "free", "url": "javascript:alert(1)"}, "to": []map[string]any{{"user_id": ann}},
	})
	require.Equal(t, notify.StatusFailed, b.wait(free).Status)
	require.Equal(t, notify.ReasonBadContent, b.deliveries(free)[0].Reason)
	require.Len(t, b.inbox(ann).Items, 1)
}

// withUsers has an idp of its own that knows so many users, user-0 and on.
func (b *belfry) withUsers(n int) *belfry {
	b.t.Helper()
	var users strings.Builder
	for i := range n {
		fmt.Fprintf(&users, "- {id: user-%d, email: u%d@example.com, name: User %d}\n", i, i, i)
	}
	file := filepath.Join(b.t.TempDir(), "users.yaml")
	require.NoError(b.t, os.WriteFile(file, []byte(users.String()), 0o600))
	b.with("BELFRY_IDP_ADDR", freeAddr(b.t))
	start(b.t, b.variables, "idp", "--users", file)
	return b
}

// requireInboxes wants one item of each of the notifications in some of the
// users' inboxes, and as many mails to each user.
func requireInboxes(t *testing.T, b *belfry, server *mailServer, ids []string, users int) {
	t.Helper()
	every := max(1, users/chaos(t, "CHAOS_INBOXES", 12))
	taken := server.mails()
	require.Len(t, taken, users)
	for i := 0; i < users; i += every {
		found := b.inbox(fmt.Sprint("user-", i))
		of := map[string]int{}
		for n, item := range found.Items {
			of[item.NotificationID]++
			require.True(t, n == 0 || item.ID < found.Items[n-1].ID, "newest first")
		}
		require.Len(t, of, len(ids), "user %d", i)
		require.Len(t, found.Items, len(ids), "user %d has one of each", i)
		require.Equal(t, len(ids), found.Unread)
		require.GreaterOrEqual(t, len(taken[fmt.Sprintf("u%d@example.com", i)]), len(ids))
	}
}

// TestInboxesOfManyWhoseWorkersAreKilled has one notification to 600 users by
// name, and one to an audience of them, over both channels.
func TestInboxesOfManyWhoseWorkersAreKilled(t *testing.T) {
	t.Parallel()
	idleLane.enter(t)
	const users = 600
	server := newMailServer(t)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url()).withUsers(users)
	b.run("api")
	worker := b.run("worker")
	b.ready()
	b.do(http.MethodPost, "/v1/templates", http.StatusCreated, filmNews, nil)
	var named []map[string]any
	var lines strings.Builder
	for i := range users {
		named = append(named, map[string]any{"user_id": fmt.Sprint("user-", i)})
		fmt.Fprintf(&lines, "{\"user_id\":\"user-%d\"}\n", i)
	}
	var audience struct{ ID string }
	b.doWith(http.Header{"Content-Type": {"application/x-ndjson"}}, http.MethodPost, "/v1/audiences", http.StatusCreated, []byte(lines.String()), &audience)
	var ids []string
	for _, whom := range []map[string]any{{"to": named}, {"audience": map[string]any{"id": audience.ID}}} {
		whom["template"], whom["channels"], whom["data"] = "film-news", []string{"email", "inbox"}, map[string]any{"film": "x"}
		ids = append(ids, b.send(whom))
	}
	for kill := range 3 {
		b.eventually("under way", func() bool { return b.sent(ids) > (1+kill)*users })
		worker.kill()
		worker = b.run("worker")
	}
	for _, id := range ids {
		require.Equal(t, notify.Counts{Total: 2 * users, Sent: 2 * users}, b.waitWithin(id, 10*patience).Counts)
	}
	requireInboxes(t, b, server, ids, users)
}

// sent is how many deliveries of notifications were sent so far.
func (b *belfry) sent(ids []string) (sent int) {
	for _, id := range ids {
		var n standing
		b.do(http.MethodGet, "/v1/notifications/"+id, http.StatusOK, nil, &n)
		sent += n.Counts.Sent
	}
	return sent
}

// TestInboxesOfAllUsersWhileNoMailGoesOut has a mail server that refuses
// everything: no item waits for it.
func TestInboxesOfAllUsersWhileNoMailGoesOut(t *testing.T) {
	t.Parallel()
	const users = 600
	server := newMailServer(t)
	server.refuse(func(string) error { return errLater })
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url()).withUsers(users)
	b.run("all")
	b.ready()
	b.do(http.MethodPost, "/v1/templates", http.StatusCreated, filmNews, nil)
	request := map[string]any{"template": "film-news", "channels": []string{"inbox", "email"}, "data": map[string]any{"film": "x"}}
	request["audience"] = map[string]any{"all_users": true}
	ids := []string{b.send(request)}
	b.eventually("all items are there", func() bool { return b.sent(ids) == users })
	var n standing
	b.do(http.MethodGet, "/v1/notifications/"+ids[0], http.StatusOK, nil, &n)
	require.Equal(t, notify.Counts{Total: 2 * users, Sent: users, Queued: users}, n.Counts)
	server.refuse(nil)
	require.Equal(t, notify.Counts{Total: 2 * users, Sent: 2 * users}, b.waitWithin(ids[0], 10*patience).Counts)
	requireInboxes(t, b, server, ids, users)
}

// TestDirectItemsWhoseWorkerIsKilled sends to few at a time.
func TestDirectItemsWhoseWorkerIsKilled(t *testing.T) {
	t.Parallel()
	idleLane.enter(t)
	const users = 20
	server := newMailServer(t)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url()).withUsers(users)
	b.run("api")
	worker := b.run("worker")
	b.ready()
	b.do(http.MethodPost, "/v1/templates", http.StatusCreated, filmNews, nil)
	var ids []string
	for n := range chaos(t, "CHAOS_MAILS", 200) / 2 {
		ids = append(ids, b.send(map[string]any{
			"template": "film-news", "channels": []string{"inbox", "email"}, "data": map[string]any{"film": "x"},
			"to": []map[string]any{{"user_id": fmt.Sprint("user-", n%users)}},
		}))
		if n%40 == 25 {
			worker.kill()
			worker = b.run("worker")
		}
	}
	of := map[string][]string{}
	for n, id := range ids {
		require.Equal(t, notify.Counts{Total: 2, Sent: 2}, b.waitLong(id).Counts)
		user := fmt.Sprint("user-", n%users)
		of[user] = append(of[user], id)
	}
	for user, sent := range of {
		var got []string
		for _, item := range b.inbox(user).Items {
			got = append(got, item.NotificationID)
		}
		require.ElementsMatch(t, sent, got, "%s has each once", user)
	}
}
