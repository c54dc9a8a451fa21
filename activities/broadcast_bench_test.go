package activities

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/mongotest"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/store" //nolint:depguard // what it costs over the real store
)

// timed tells how long the operations of a page on the store take.
type timed struct {
	*store.Store
	mu    sync.Mutex
	spent map[string]time.Duration
}

func (s *timed) add(what string, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spent[what] += time.Since(since)
}

func (s *timed) InsertChunk(ctx context.Context, c *notify.Chunk) error {
	what := "claim"
	if c.End != nil {
		what = "end"
	}
	defer s.add(what, time.Now())
	return s.Store.InsertChunk(ctx, c)
}

func (s *timed) InsertDeliveries(ctx context.Context, deliveries []*notify.Delivery) ([]int, error) {
	defer s.add("deliveries", time.Now())
	return s.Store.InsertDeliveries(ctx, deliveries)
}

// greeter renders 3 KB of HTML of which little differs.
type greeter struct{ body string }

func (greeter) Inbox(_ context.Context, source notify.InboxContent, _ notify.Object, _ notify.User) (notify.InboxContent, error) {
	return source, nil
}

func (g greeter) Email(_ context.Context, _ notify.Email, _ notify.Object, to notify.User) (notify.Email, error) {
	return notify.Email{Subject: "Hello " + to.Name, HTML: "<p>Dear " + to.Name + g.body, Text: "Dear " + to.Name}, nil
}

// silent takes every message at once.
type silent struct{}

func (silent) Name() string                                      { return "smtp" }
func (silent) Ready(context.Context, bool) (bool, time.Duration) { return true, 0 }
func (silent) Send(context.Context, notify.Message) notify.Outcome {
	return notify.Outcome{Kind: notify.OutcomeSent}
}

// BenchmarkAPage is what pages of 500 cost beside rendering and sending, one at
// a time and two at once:
//
//	bin/stack exec -- go test -run '^$' -bench APage ./activities
func BenchmarkAPage(b *testing.B) {
	const recipients = 500
	page := chunkedPage{over: notify.ChannelEmail}
	for i := range recipients {
		page.recipients = append(page.recipients, notify.Recipient{Email: fmt.Sprintf("user%06d@example.com", i), Name: fmt.Sprintf("User %d", i)})
	}
	var body strings.Builder
	for i := range 30 {
		fmt.Fprintf(&body, "<tr><td style=\"padding:8px\"><a href=\"https://shop.example.com/item/%d\">Item %d of the week</a></td></tr>\n", i*7919, i)
	}
	for _, atOnce := range []int{1, 2} {
		b.Run(fmt.Sprintf("%d at once", atOnce), func(b *testing.B) {
			opened, err := store.Open(mongotest.NewURI(b))
			require.NoError(b, err)
			b.Cleanup(func() { require.NoError(b, opened.Close(context.WithoutCancel(b.Context()))) })
			require.NoError(b, opened.EnsureIndexes(b.Context(), slog.New(slog.DiscardHandler)))
			s := &timed{Store: opened, spent: map[string]time.Duration{}}
			a := &Activities{
				Store: s, Directory: directory{}, Renderer: greeter{body.String()}, Email: []Provider{silent{}}, Log: slog.New(slog.DiscardHandler),
				Now: time.Now, NewToken: uuid.NewString, Patience: DefaultPatience, Concurrency: 10,
			}
			for b.Loop() {
				var pages sync.WaitGroup
				for range atOnce {
					pages.Go(func() {
						n := &notify.Notification{
							ID: uuid.NewString(), Channels: []notify.Channel{notify.ChannelEmail},
							CreatedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour),
						}
						_, next := a.deliverChunks(b.Context(), job{notification: n, source: notify.Bodies{Email: &notify.Email{}}}, page, nil)
						if next != nil {
							b.Error(next.cause)
						}
					})
				}
				pages.Wait()
			}
			b.ReportMetric(float64(b.N*recipients*atOnce)/b.Elapsed().Seconds(), "mails/s")
			for what, spent := range s.spent {
				b.ReportMetric(spent.Seconds()*1000/float64(b.N*atOnce*recipients/notify.ChunkSize), "ms/"+what)
			}
		})
	}
}
