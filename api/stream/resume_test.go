package stream_test

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/api/stream"
	"github.com/belfry-notify/belfry/internal/mongotest"
	"github.com/belfry-notify/belfry/internal/notify"
)

func TestAResume(t *testing.T) {
	t.Parallel()
	uri := mongotest.NewURI(t)
	i := newInstance(t, uri, nil)
	s, hello := i.open("ann", "")
	late := newItem("ann", "claimed long ago")
	late.ID = idOf(time.Now().Add(-time.Hour))
	i.put(newItem("ann", "one"), newItem("ann", "two"))
	cursor := s.expectItems("one", "two").Cursor
	require.NotEqual(t, hello.Cursor, cursor)
	require.NoError(t, s.Close())

	i.put(late, newItem("ann", "three"), newItem("bob", "not ann's"))
	other := newInstance(t, uri, nil)
	again, hello := other.open("ann", cursor)
	require.Equal(t, momentOf(t, cursor), momentOf(t, hello.Cursor))
	last := again.expectItems("claimed long ago", "one", "two", "three")
	again.expectNothing()

	afterwards, _ := other.open("ann", last.Cursor)
	afterwards.expectItems("claimed long ago", "one", "two", "three") // all of it less than 30 s ago
}

// momentOf is what a cursor holds, which clients do not look into.
func momentOf(t *testing.T, cursor string) time.Time {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	require.NoError(t, err)
	return time.UnixMilli(int64(binary.BigEndian.Uint64(raw[1:9])))
}

// A client that is cut off in the middle again and again comes to the end.
func TestAResumeThatIsCutOffGoesOn(t *testing.T) {
	t.Parallel()
	uri := mongotest.NewURI(t)
	_, hello := newInstance(t, uri, nil).open("ann", "")
	i := newInstance(t, uri, func(c *stream.Config) { // a minute later
		c.Now = func() time.Time { return time.Now().Add(time.Minute) }
	})
	const n = 120
	var want []string
	for k := range n {
		item := newItem("ann", fmt.Sprint(k))
		require.NoError(t, i.store.InsertItem(t.Context(), item))
		want = append(want, item.ID)
	}
	var got []string
	cursor := hello.Cursor
	for tries := 0; len(got) < n; tries++ {
		require.Less(t, tries, n)
		s, _ := i.open("ann", cursor)
		for range 20 {
			f, err := s.next()
			require.NoError(t, err)
			if !slices.Contains(got, f.Item.ID) {
				got = append(got, f.Item.ID)
			}
			require.False(t, momentOf(t, f.Cursor).Before(momentOf(t, cursor)), "cursors go forward")
			cursor = f.Cursor
			if len(got) == n {
				break
			}
		}
		require.NoError(t, s.Close())
	}
	require.Equal(t, want, got)
}

func TestTooMuchMissedIsAGap(t *testing.T) {
	t.Parallel()
	i := alone(t)
	_, hello := i.open("ann", "")
	items := make([]*notify.Item, stream.MaxMissed+1)
	for k := range items {
		items[k] = newItem("ann", fmt.Sprint(k))
	}
	require.NoError(t, i.store.InsertItems(t.Context(), items[1:]))
	s, _ := i.open("ann", hello.Cursor)
	for _, item := range items[1:] {
		require.Equal(t, item.ID, s.expect("item").Item.ID)
	}
	require.NoError(t, i.store.InsertItems(t.Context(), items[:1]))
	s, _ = i.open("ann", hello.Cursor)
	gap := s.expect("gap")
	i.put(newItem("ann", "after the gap"))
	s.expectItems("after the gap")
	s.expectNothing()
	require.NotEqual(t, hello.Cursor, gap.Cursor)
}

// Fifty write to one inbox while its client comes and goes.
func TestManyWritersAndAClientThatReconnects(t *testing.T) {
	t.Parallel()
	uri := mongotest.NewURI(t)
	instances := []*instance{newInstance(t, uri, nil), newInstance(t, uri, nil)}
	const writers, each = 50, 6
	_, hello := instances[0].open("ann", "")
	var writing sync.WaitGroup
	var mu sync.Mutex
	want := map[string]bool{}
	for range writers {
		writing.Go(func() {
			for k := range each {
				item := newItem("ann", fmt.Sprint(k))
				if k%3 == 0 { // its claim is from long ago
					item.ID = idOf(time.Now().Add(-time.Duration(rand.IntN(3600)) * time.Second))
				}
				at := instances[rand.IntN(2)]
				if err := at.store.InsertItem(t.Context(), item); err != nil {
					t.Error(err)
				}
				if rand.IntN(4) > 0 { // a push that fails
					at.pusher.PushItems(item)
				}
				mu.Lock()
				want[item.ID] = true
				mu.Unlock()
				<-time.After(time.Duration(rand.IntN(200)) * time.Millisecond)
			}
		})
	}
	written := make(chan struct{})
	go func() {
		writing.Wait()
		close(written)
	}()
	got := map[string]bool{}
	cursor := hello.Cursor
	for over := false; !over; {
		select {
		case <-written:
			over = true
		default:
		}
		s, _ := instances[rand.IntN(2)].open("ann", cursor)
		_ = s.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		for over && len(got) < len(want) || !over {
			if over {
				_ = s.SetReadDeadline(time.Now().Add(patience))
			}
			var f frame
			if err := s.ReadJSON(&f); err != nil {
				require.False(t, websocket.IsUnexpectedCloseError(err), err)
				break
			}
			got[f.Item.ID] = true
			cursor = f.Cursor
		}
		require.NoError(t, s.Close())
	}
	require.Equal(t, want, got)
}
