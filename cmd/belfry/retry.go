package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// patience is for how long a request is tried again while the server is away;
// the last try may begin as late.
const patience = 30 * time.Second

// maxPause is the longest pause between two tries, unless the server asks for
// a longer one.
const maxPause = 5 * time.Second

// insist asks until an answer comes, the error is none that time can mend, or
// patience ends. Who insists on a change sends it under an idempotency key.
func (c *apiClient) insist(ctx context.Context, mends func(error) bool, ask func() (answer, error)) (answer, error) {
	pauses := backoff.NewExponentialBackOff()
	pauses.MaxInterval = maxPause
	told := false
	return backoff.Retry(ctx, func() (answer, error) {
		got, err := ask()
		if err != nil && !mends(err) {
			err = backoff.Permanent(err)
		}
		return got, err
	}, backoff.WithBackOff(pauses), backoff.WithMaxElapsedTime(patience), backoff.WithNotify(func(err error, _ time.Duration) {
		if !told && isTransient(err) {
			told = true
			c.complain(fmt.Sprintf("%s; trying again for %s", err, patience))
		}
	}))
}

// isTransient says whether the server, or a proxy before it, may answer
// otherwise soon.
func isTransient(err error) bool {
	if r, refused := errors.AsType[*refusal](err); refused {
		switch r.status {
		case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	_, away := errors.AsType[*unreachable](err)
	return away
}

// maxRetryAfter is the longest wait that is read from a header.
const maxRetryAfter = 24 * time.Hour

// retryAfter reads the header of that name (RFC 9110, section 10.2.3) as an
// error that makes backoff wait so long. It is nil when the header says
// nothing, or not to wait: our own pauses are better then.
func retryAfter(header string) error {
	if seconds, err := strconv.Atoi(header); err == nil && seconds > 0 {
		return &backoff.RetryAfterError{Duration: min(time.Duration(min(seconds, 1<<32))*time.Second, maxRetryAfter)}
	}
	if at, err := http.ParseTime(header); err == nil {
		if pause := time.Until(at); pause > 0 {
			return &backoff.RetryAfterError{Duration: pause}
		}
	}
	return nil
}
