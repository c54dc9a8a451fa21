package activities

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

// Over both channels, a recipient's deliveries are decided one by one.
func TestWhoCanBeToldOverInbox(t *testing.T) {
	t.Parallel()
	type end struct {
		state  notify.State
		reason notify.Reason
	}
	sent := end{state: notify.StateSent}
	for _, test := range []struct {
		name         string
		to           notify.Recipient
		data         notify.Object
		email, inbox end
	}{
		{"a user", notify.Recipient{UserID: "ann"}, "", sent, sent},
		{"a user without a mail address", notify.Recipient{UserID: "noaddress"}, "", end{notify.StateFailed, notify.ReasonNoAddress}, sent},
		{"an address", notify.Recipient{Email: "bob@example.com"}, "", sent, end{notify.StateFailed, notify.ReasonNoAddress}},
		{"nobody knows", notify.Recipient{UserID: "ghost"}, "", end{notify.StateFailed, notify.ReasonUserNotFound}, end{notify.StateFailed, notify.ReasonUserNotFound}},
		{"what cannot be rendered", notify.Recipient{UserID: "ann"}, "bad", end{notify.StateFailed, notify.ReasonBadContent}, end{notify.StateFailed, notify.ReasonBadContent}},
	} {
		for _, bulk := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, bulk %v", test.name, bulk), func(t *testing.T) {
				t.Parallel()
				w := newWorld()
				n := w.notification(test.to)
				n.Channels, n.Data, n.Provider, n.Bulk = []notify.Channel{notify.ChannelEmail, notify.ChannelInbox}, test.data, "smtp", bulk
				w.ledger.notifications[n.ID] = notify.Record{Notification: *n}
				if bulk {
					for page := range n.Pages() {
						_, err := w.deliverPage(t, Page{ID: n.ID, Number: page})
						require.NoError(t, err)
					}
				} else {
					_, err := w.TryDeliver(t.Context(), n.ID)
					require.NoError(t, err)
				}
				for channel, want := range map[notify.Channel]end{notify.ChannelEmail: test.email, notify.ChannelInbox: test.inbox} {
					d := w.recordedOver(t, n, channel, test.to)
					require.Equal(t, want, end{d.State, d.Reason}, channel)
					require.Equal(t, channel, d.Channel)
					require.Equal(t, bulk, d.Entry != "")
					if channel == notify.ChannelInbox && d.State == notify.StateSent {
						require.Equal(t, "inbox", d.Provider, "the one that is forced is for mails")
						require.Empty(t, d.Address)
					}
				}
				for _, m := range w.provider.sent {
					if m.Inbox != nil {
						require.Equal(t, test.to.UserID, m.Inbox.UserID)
						require.Equal(t, n.Data, m.Inbox.Data)
						require.Equal(t, "t", m.Inbox.Content.Title)
					}
				}
			})
		}
	}
}

// The pages of a notification over both channels are of one channel each, those
// for inboxes first, and mails that wait hold up no item.
func TestEachChannelHasPagesOfItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld()
	n, _ := w.toMany(notify.PageSize + 20)
	n.Channels = []notify.Channel{notify.ChannelEmail, notify.ChannelInbox}
	w.ledger.notifications[n.ID] = notify.Record{Notification: *n}
	users := directory{}
	for i := range notify.PageSize + 20 {
		id := fmt.Sprintf("user%03d", i)
		users[id] = notify.User{ID: id, Email: id + "@example.com"}
		w.ledger.pages[fmt.Sprintf("readers/%d", i/notify.PageSize)][i%notify.PageSize] = notify.Recipient{UserID: id}
	}
	w.Directory = users
	require.Equal(t, 4, n.Pages())

	w.provider.down = true
	for page, size := range []int{notify.PageSize, 20} {
		result, err := w.deliverPage(t, Page{ID: n.ID, Number: page})
		require.NoError(t, err)
		require.Equal(t, notify.Counts{Total: size, Sent: size}, result.Counts)
		_, err = w.deliverPage(t, Page{ID: n.ID, Number: 2 + page})
		require.ErrorContains(t, err, "wait: no provider can take a message now")
	}
	w.provider.down = false
	for page, size := range []int{notify.PageSize, 20} {
		result, err := w.deliverPage(t, Page{ID: n.ID, Number: 2 + page, Again: true})
		require.NoError(t, err)
		require.Equal(t, notify.Counts{Total: size, Sent: size}, result.Counts)
	}
	for id, sends := range w.sends() {
		require.Equal(t, 1, sends, id)
	}
	require.Len(t, w.sends(), 2*(notify.PageSize+20))
	inboxes := slices.Collect(func(yield func(notify.Message) bool) {
		for _, m := range w.provider.sent {
			if m.Inbox != nil && !yield(m) {
				return
			}
		}
	})
	require.Len(t, inboxes, notify.PageSize+20)

	cancelled, err := w.deliverPage(t, Page{ID: n.ID, Number: 3, Again: true, Stopped: notify.ReasonCancelled})
	require.NoError(t, err)
	require.Zero(t, cancelled.Cancelled, "all of it is over")
}

// Pages of mails alone are numbered as they always were.
func TestPagesOfANotification(t *testing.T) {
	t.Parallel()
	email, inbox := notify.ChannelEmail, notify.ChannelInbox
	n := &notify.Notification{Audience: &notify.AudienceRef{Total: 1001}}
	for _, test := range []struct {
		channels []notify.Channel
		over     []notify.Channel
		of       []int
	}{
		{[]notify.Channel{email}, []notify.Channel{email, email, email}, []int{0, 1, 2}},
		{[]notify.Channel{inbox}, []notify.Channel{inbox, inbox, inbox}, []int{0, 1, 2}},
		{[]notify.Channel{email, inbox}, []notify.Channel{inbox, inbox, inbox, email, email, email}, []int{0, 1, 2, 0, 1, 2}},
		{[]notify.Channel{inbox, email}, []notify.Channel{inbox, inbox, inbox, email, email, email}, []int{0, 1, 2, 0, 1, 2}},
	} {
		n.Channels = test.channels
		require.Equal(t, len(test.over), n.Pages())
		for number := range n.Pages() {
			over, of := n.Page(number)
			require.Equal(t, test.over[number], over)
			require.Equal(t, test.of[number], of)
		}
		require.Equal(t, test.channels, n.Channels)
	}
}
