package api_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/api"
	"github.com/belfry-notify/belfry/internal/notify"
)

// states keeps what clients are shown.
type states struct {
	mu     sync.Mutex
	items  []string
	unread []int
}

func (s *states) PushState(item *notify.Item, unread int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items, s.unread = append(s.items, item.ID), append(s.unread, unread)
}

// put stores items of a user, and answers with their ids, oldest first.
func (s *server) put(userID string, n int) []string {
	s.t.Helper()
	ids := make([]string, n)
	for i := range ids {
		ids[i] = notify.ItemID(uuid.NewString(), time.Now().Add(time.Duration(i)*time.Second))
		require.NoError(s.t, s.store.InsertItem(s.t.Context(), &notify.Item{
			ID: ids[i], NotificationID: uuid.NewString(), DeliveryID: uuid.NewString(), UserID: userID,
			Title: fmt.Sprint(i), Body: "b", Data: `{"n":1.0}`, CreatedAt: time.Now(),
		}))
	}
	return ids
}

type inbox struct {
	Items      []notify.Item
	NextCursor string `json:"next_cursor"`
	Unread     int
}

func (i inbox) ids() []string {
	ids := []string{}
	for _, item := range i.Items {
		ids = append(ids, item.ID)
	}
	return ids
}

func TestAnInboxOverHTTP(t *testing.T) {
	t.Parallel()
	shown := &states{}
	s := newServer(t).again(func(cfg *api.Config) { cfg.Pusher = shown })
	require.JSONEq(t, `{"items":[],"unread":0}`, string(second(s.ask(http.MethodGet, "/v1/users/ann/inbox", nil))))
	ids := s.put("ann", 5)
	s.put("ben", 1)
	list := func(query string) inbox { return get[inbox](s, http.MethodGet, "/v1/users/ann/inbox"+query, 200, nil) }
	change := func(id, what string) notify.Item {
		return get[notify.Item](s, http.MethodPost, "/v1/users/ann/inbox/"+id+"/"+what, 200, nil)
	}

	require.NotNil(t, change(ids[1], "read").ReadAt)
	require.NotNil(t, change(ids[2], "read").SeenAt, "what was read was seen")
	require.Nil(t, change(ids[2], "unread").ReadAt)
	require.NotNil(t, change(ids[3], "archive").ArchivedAt)
	require.Equal(t, []string{ids[1], ids[2], ids[2], ids[3]}, shown.items)
	require.Equal(t, []int{4, 3, 4, 3}, shown.unread)

	all := list("")
	require.Equal(t, []string{ids[4], ids[2], ids[1], ids[0]}, all.ids())
	require.Equal(t, 3, all.Unread)
	require.Equal(t, []string{ids[4], ids[2], ids[0]}, list("?unread=true").ids())
	require.Equal(t, []string{ids[4], ids[3], ids[2], ids[1], ids[0]}, list("?archived=true").ids())
	first := list("?limit=3&archived=true")
	require.Equal(t, []string{ids[4], ids[3], ids[2]}, first.ids())
	rest := list("?limit=3&archived=true&cursor=" + first.NextCursor)
	require.Equal(t, []string{ids[1], ids[0]}, rest.ids())
	require.Empty(t, rest.NextCursor)
	require.Contains(t, string(second(s.ask(http.MethodGet, "/v1/users/ann/inbox?limit=1", nil))), `"data":{"n":1.0}`, "as it was sent")

	require.JSONEq(t, `{"unread":0}`, string(second(s.ask(http.MethodPost, "/v1/users/ann/inbox/read-all", nil))))
	require.Empty(t, list("?unread=true").Items)
	require.Equal(t, 0, list("").Unread)
	require.Equal(t, []int{0, 0, 0}, shown.unread[4:])
	require.Equal(t, 1, get[inbox](s, http.MethodGet, "/v1/users/ben/inbox", 200, nil).Unread)

	for _, path := range []string{"/v1/users/ben/inbox/" + ids[0] + "/read", "/v1/users/ann/inbox/" + uuid.NewString() + "/archive"} {
		require.Equal(t, "not_found", s.refused(http.MethodPost, path, 404, nil).Code)
	}
	for path, at := range map[string]string{"?cursor=!!!": "query.cursor", "?limit=0": "query.limit", "?unread=perhaps": "query.unread"} {
		require.Equal(t, []string{at}, s.refused(http.MethodGet, "/v1/users/ann/inbox"+path, 422, nil).locations())
	}
	require.Equal(t, []string{"path.item_id"}, s.refused(http.MethodPost, "/v1/users/ann/inbox/17/read", 422, nil).locations())
}

func TestTemplatesForInboxes(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	item := object{"title": "{{ film }} is on", "body": "at {{ time | default: 'eight' }}", "url": "/films/{{ film | url_encode }}"}
	get[any](s, http.MethodPost, "/v1/templates", 201, object{"name": "film", "channels": object{"inbox": item}})
	get[any](s, http.MethodPost, "/v1/templates", 201, object{"name": "both", "channels": object{"inbox": item, "email": email("s", "h")["email"]}})
	want := `{"channel":"inbox","content":{"title":"<Solaris> is on","body":"at eight","url":"/films/%3CSolaris%3E"}}`
	data := object{"film": "<Solaris>"}
	for path, body := range map[string]object{"film": {"data": data}, "both": {"data": data, "channel": "inbox"}} {
		response, text := s.ask(http.MethodPost, "/v1/templates/"+path+"/preview", body)
		require.Equal(t, 200, response.StatusCode)
		require.JSONEq(t, want, string(text), path)
	}
	require.Contains(t, string(second(s.ask(http.MethodPost, "/v1/templates/both/preview", object{"data": data}))), `"channel":"email"`)
	require.Equal(t, []string{"channels.inbox.title", "channels.inbox.url"},
		s.refused(http.MethodPost, "/v1/templates/film/preview", 422, object{}).locations())
	require.Equal(t, []string{"body.channel"}, s.refused(http.MethodPost, "/v1/templates/film/preview", 422, object{"channel": "email"}).locations())

	for at, wrong := range map[string]object{
		"body.channels.inbox":       {"title": "t"},
		"body.channels.inbox.title": {"title": " ", "body": "b"},
		"body.channels.inbox.body":  {"title": "t", "body": "{% if %}"},
		"body.channels.inbox.url":   {"title": "t", "body": "b", "url": "javascript:alert(1)"},
		"body.channels.inbox.icon":  {"title": "t", "body": "b", "icon": "x"},
	} {
		require.Contains(t, s.refused(http.MethodPost, "/v1/templates", 422, object{"name": "wrong", "channels": object{"inbox": wrong}}).locations(), at)
	}

	both := []string{"email", "inbox"}
	require.Equal(t, []string{"body.channels[0]"}, s.refused(http.MethodPost, "/v1/notifications", 422,
		object{"template": "film", "to": to("ann@example.com"), "channels": both}).locations())
	require.Equal(t, []string{"body.channels[1]"}, s.refused(http.MethodPost, "/v1/notifications", 422,
		object{"content": email("s", "h"), "to": to("ann@example.com"), "channels": both}).locations())
	sent := s.send("", 202, object{"template": "both", "to": to("ann@example.com", "ben@example.com"), "channels": both})
	n := get[notify.Record](s, http.MethodGet, "/v1/notifications/"+sent.ID, 200, nil)
	require.Equal(t, []notify.Channel{"email", "inbox"}, n.Channels)
	require.Equal(t, notify.Counts{Total: 4, Queued: 4}, n.Counts)
}

func TestAnItemIsShownAsItWasRendered(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := inChunk(s, "ann")
	c.first.Entries = []notify.Entry{{UserID: "ann", Channel: notify.ChannelInbox, Content: &notify.Bodies{Inbox: &notify.InboxContent{Title: "t", Body: "b", URL: "/x"}}}}
	c.first.ID = notify.ChunkID(c.record.ID, 4, 0, 1)
	require.NoError(t, s.store.InsertChunk(t.Context(), c.first))
	d := c.first.Claim(0)
	require.NoError(t, s.store.InsertDelivery(t.Context(), &notify.Delivery{
		ID: d.DeliveryID, NotificationID: c.record.ID, UserID: "ann", Channel: notify.ChannelInbox, Provider: "inbox",
		State: notify.StateSent, CreatedAt: d.CreatedAt, Claim: 1, Entry: notify.EntryOf(4, 0, 0),
	}))
	want := map[string]any{"title": "t", "body": "b", "url": "/x"}
	shown := get[object](s, http.MethodGet, "/v1/deliveries/"+d.DeliveryID, 200, nil)
	require.Equal(t, want, shown["content"])
	require.NotContains(t, shown, "address")
	listed := get[struct{ Items []object }](s, http.MethodGet, "/v1/users/ann/notifications", 200, nil).Items
	require.Len(t, listed, 1)
	require.Equal(t, want, listed[0]["content"])

	require.NoError(t, s.store.EraseEntry(t.Context(), c.record.ID, notify.EntryOf(4, 0, 0)))
	require.NotContains(t, get[object](s, http.MethodGet, "/v1/deliveries/"+d.DeliveryID, 200, nil), "content")

	schema := get[struct {
		Components struct {
			Schemas map[string]struct{ Properties map[string]object }
		}
	}](s, http.MethodGet, "/openapi.json", 200, nil).Components.Schemas
	require.Len(t, schema["DeliveryView"].Properties["content"]["oneOf"], 2)
	require.Contains(t, schema["InboxContent"].Properties, "title")
	require.Equal(t, "object", schema["Item"].Properties["data"]["type"])
}

func TestSchedulesAndTriggersOverInbox(t *testing.T) {
	t.Parallel()
	s, _ := newScheduleServer(t)
	both := []string{"inbox", "email"}
	get[any](s, http.MethodPost, "/v1/templates", 201, object{"name": "both", "channels": object{
		"email": email("s", "h")["email"], "inbox": object{"title": "t", "body": "b"},
	}})
	scheduled := func(template string) object {
		return weekly(object{"notification": object{"template": template, "channels": both, "to": []object{{"user_id": "ann"}}}})
	}
	type named struct {
		Notification notify.Request
		Channels     []notify.Channel
	}
	want := []notify.Channel{"inbox", "email"}
	require.Equal(t, want, get[named](s, http.MethodPost, "/v1/schedules", 201, scheduled("both")).Notification.Channels)
	require.Equal(t, []string{"body.notification.channels[0]"},
		s.refused(http.MethodPut, "/v1/schedules/weekly", 422, withoutName(scheduled("welcome"))).locations())

	made := get[named](s, http.MethodPost, "/v1/triggers", 201, placed(object{"template": "both", "channels": both}))
	require.Equal(t, want, made.Channels)
	tested := get[struct{ Notification named }](s, http.MethodPost, "/v1/triggers/placed/test", 200,
		object{"data": object{"total": 120, "film": "x", "user_id": "ann"}})
	require.Equal(t, want, tested.Notification.Channels)
}

func withoutName(body object) object {
	delete(body, "name")
	return body
}
