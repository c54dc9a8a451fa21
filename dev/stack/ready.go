package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// tailLines is how much of a log is shown when something fails.
const tailLines = 15

// untilReady asks every 50 ms until ready answers no error. It gives up when
// the child ends or the time to start is over, and shows the child's log.
func (s *Stack) untilReady(ctx context.Context, c *child, ready func(context.Context) error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := ready(attempt)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-c.ended:
			return fmt.Errorf("%s ended while it started (%s)%s", c.name, c.ending(), tail(c.log))
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return fmt.Errorf("%s was not ready yet: %w", c.name, ctx.Err())
			}
			return fmt.Errorf("%s was not ready after %s (%w)%s", c.name, startDeadline, err, tail(c.log))
		case <-tick.C:
		}
	}
}

// tail is the last lines of a log, with a headline; nothing where the output
// went to the terminal.
func tail(log string) string {
	if log == "" {
		return ""
	}
	text, err := os.ReadFile(log)
	if err != nil {
		return ""
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	lines = lines[max(0, len(lines)-tailLines):]
	return fmt.Sprintf("; the end of %s:\n%s", log, bytes.Join(lines, []byte("\n")))
}
