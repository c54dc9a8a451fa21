package outcome

import "time"

// TakeOver sets how long others have to publish what they could not.
func TakeOver(t *Teller, after time.Duration) { t.takeOver, t.takeOverEvery = after, after }

// Break breaks the connection, if there is one.
func Break(t *Teller) {
	if s := t.publisher.current.Load(); s != nil {
		_ = s.connection.Close()
	}
}
