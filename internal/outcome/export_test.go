package outcome

import (
	"context"
	"time"
)

// Connected says whether it can publish.
func Connected(t *Teller) bool { return t.publisher.connected() }

// Connect keeps it connected, and no more, until ctx ends.
func Connect(ctx context.Context, t *Teller) { t.publisher.run(ctx) }

// CatchUpOthers has it look at a moment whether the others are gone.
func CatchUpOthers(ctx context.Context, t *Teller, now time.Time) error {
	return t.catchUpOthers(ctx, now)
}

// Break breaks the connection, if there is one.
func Break(t *Teller) {
	if s := t.publisher.current.Load(); s != nil {
		_ = s.connection.Close()
	}
}
