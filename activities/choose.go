package activities

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/belfry-notify/belfry/internal/notify"
)

// triesEach is how often a delivery is tried with one provider before it goes
// on to the next one of the order. After the last one comes the first again.
const triesEach = 5

// providers are those of a channel, in the order in which they are tried.
func (a *Activities) providers(channel notify.Channel) []Provider {
	if channel == notify.ChannelInbox {
		return []Provider{a.Inbox}
	}
	return a.Email
}

// choose names in a claim the provider that is to make the attempt. It is the
// one the notification forces for its mails, or the first of the order that has tries left
// and can take a message now. While an earlier attempt is in doubt it is the
// one that made it: two providers would not know of each other's message. It
// fails with a laterError when none can take a message now.
func (a *Activities) choose(ctx context.Context, j job, claim *notify.Claim, before string) error {
	order, forced := a.providers(claim.Channel), ""
	if claim.Channel == notify.ChannelEmail {
		forced = j.notification.Provider
	}
	if claim.Doubts > 0 && before != "" {
		forced = before
	}
	if forced != "" {
		order = slices.DeleteFunc(slices.Clone(order), func(p Provider) bool { return p.Name() != forced })
	}
	if len(order) == 0 {
		return &laterError{cause: fmt.Sprintf("provider %q is not configured here", forced)}
	}
	tries := 0
	for _, attempt := range claim.Attempts {
		if slices.ContainsFunc(order, func(p Provider) bool { return p.Name() == attempt.Provider }) {
			tries++
		}
	}
	next := tries / triesEach
	var after time.Duration
	for i := range order {
		p := order[(next+i)%len(order)]
		ready, wait := readyAtPace(ctx, j.pace, p, j.notification.Priority == notify.PriorityHigh)
		if ready {
			claim.Provider = p.Name()
			return nil
		}
		after = max(after, wait)
	}
	return &laterError{after: after, soon: true, cause: "no provider can take a message now"}
}

// paceWait is how long a message may wait in memory for its turn by the
// notification's own rate.
const paceWait = 10 * time.Second

// readyAtPace waits for a message's turn, by the notification's own rate and
// with the provider.
func readyAtPace(ctx context.Context, pace *rate.Limiter, p Provider, high bool) (ready bool, after time.Duration) {
	if pace != nil {
		ctx, cancel := context.WithTimeout(ctx, paceWait)
		defer cancel()
		if err := pace.Wait(ctx); err != nil {
			return false, time.Duration(float64(time.Second) / float64(pace.Limit()))
		}
	}
	return p.Ready(ctx, high)
}

// provider is the one of a channel with the name, which choose has found.
func (a *Activities) provider(channel notify.Channel, name string) Provider {
	all := a.providers(channel)
	return all[slices.IndexFunc(all, func(p Provider) bool { return p.Name() == name })]
}
