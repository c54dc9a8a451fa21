package channel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sendgrid/rest"

	"github.com/belfry-notify/belfry/internal/notify"
)

// maxAnswer is how much of an answer is read; SendGrid's are under 1 KiB.
const maxAnswer = 64 << 10

// maxRetryAfter bounds how long SendGrid may have us wait: its limits are
// refilled by the minute, and a clock may be wrong.
const maxRetryAfter = time.Hour

// A sendProgress says how far a request has come.
type sendProgress struct{ written atomic.Bool }

// watch follows a request made with the context it answers with.
func watch(ctx context.Context) (context.Context, *sendProgress) {
	p := &sendProgress{}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// Comes again where net/http repeats a request of which nothing had
		// been written.
		GetConn: func(string) { p.written.Store(false) },
		// The transport is done with its writing before it gives up a request,
		// so this is called before the caller looks.
		WroteRequest: func(info httptrace.WroteRequestInfo) { p.written.Store(info.Err == nil) },
	}), p
}

// mayBeOut says whether SendGrid may have the whole request. A part of one is
// no JSON and sends nothing.
func (p *sendProgress) mayBeOut() bool { return p.written.Load() }

// unanswered is the outcome of a request without an answer: transient when it
// was not written, else unknown.
func (s *SendGrid) unanswered(err error, p *sendProgress) notify.Outcome {
	o := notify.Outcome{Kind: notify.OutcomeTransient, Down: !errors.Is(err, context.Canceled)}
	at := "connect"
	if p.mayBeOut() {
		o.Kind, at = notify.OutcomeUnknown, "answer"
	}
	var request *url.Error // says where to and what for, which everybody knows
	if errors.As(err, &request) {
		err = request.Err
	}
	o.Detail = s.detail(at + ": " + explain(err))
	return o
}

// answered sorts the status of an answer ("Mail Send", Errors; "Rate Limits"):
//
//	202                      sent: queued at SendGrid
//	429                      transient, not before the limit is reset
//	401, 403                 transient, provider_error: key, account or sender
//	404, 405, 407, 2xx, 3xx  the same: this is not SendGrid's Mail Send
//	other 4xx, such as 413   permanent, rejected, with SendGrid's words
//	502, 504                 unknown
//	other 5xx                transient
//
// What an operator can mend is transient, or one wrong key would lose every
// message that is due at the time. 502 and 504 are a gateway's word that it got
// no answer from the server behind it (RFC 9110, sections 15.6.3 and 15.6.5):
// that server may have queued the message.
func (s *SendGrid) answered(answer *rest.Response) notify.Outcome {
	header, status := http.Header(answer.Headers), answer.StatusCode
	if status == http.StatusAccepted {
		return notify.Outcome{Kind: notify.OutcomeSent, ProviderID: header.Get("X-Message-Id")}
	}
	o := notify.Outcome{Kind: notify.OutcomeTransient, Detail: s.detail(fmt.Sprintf("%d %s", status, words(answer)))}
	switch {
	case status == http.StatusTooManyRequests:
		o.RetryAfter = retryAfter(header, s.now())
	case status == http.StatusBadGateway, status == http.StatusGatewayTimeout:
		o.Kind, o.Down = notify.OutcomeUnknown, true
	case status >= http.StatusInternalServerError:
		o.RetryAfter, o.Down = retryAfter(header, s.now()), true
	case status < http.StatusBadRequest, status == http.StatusUnauthorized, status == http.StatusForbidden,
		status == http.StatusNotFound, status == http.StatusMethodNotAllowed, status == http.StatusProxyAuthRequired:
		o.Reason, o.Down = notify.ReasonProviderError, true
	case status == http.StatusRequestTimeout:
	default:
		o.Kind, o.Reason = notify.OutcomePermanent, notify.ReasonRejected
	}
	return o
}

// words are what SendGrid says in an answer: {"errors": [{"message", "field"}]}.
// Of an answer that is none of its own, such as a proxy's page, only the status
// is told.
func words(answer *rest.Response) string {
	var body struct {
		Errors []struct {
			Message string `json:"message"`
			Field   string `json:"field"`
		} `json:"errors"`
	}
	var said []string
	if json.Unmarshal([]byte(answer.Body), &body) == nil {
		for _, e := range body.Errors {
			if e.Field != "" {
				e.Message = e.Field + ": " + e.Message
			}
			said = append(said, e.Message)
		}
	}
	if len(said) == 0 {
		return http.StatusText(answer.StatusCode)
	}
	return strings.Join(said, "; ")
}

// retryAfter is how long an answer asks to wait: until X-RateLimit-Reset, a
// Unix time ("Rate Limits"), or for Retry-After (RFC 9110, section 10.2.3),
// whichever is longer; 0 when it does not say.
func retryAfter(header http.Header, now time.Time) time.Duration {
	var wait time.Duration
	if reset, err := strconv.ParseInt(header.Get("X-RateLimit-Reset"), 10, 64); err == nil {
		wait = time.Unix(reset, 0).Sub(now)
	}
	after := header.Get("Retry-After")
	if seconds, err := strconv.ParseInt(after, 10, 32); err == nil {
		wait = max(wait, time.Duration(seconds)*time.Second)
	} else if at, err := http.ParseTime(after); err == nil {
		wait = max(wait, at.Sub(now))
	}
	return min(max(wait, 0), maxRetryAfter)
}

// detail makes a line for the delivery, without the key should anybody have
// echoed it.
func (s *SendGrid) detail(text string) string {
	return capDetail(strings.ReplaceAll(text, s.config.APIKey, "***"))
}

// shortAnswers reads no more than maxAnswer of an answer: sendgrid/rest would
// read all there is.
type shortAnswers struct{ *http.Transport }

func (t shortAnswers) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := t.Transport.RoundTrip(r)
	if err == nil {
		answer.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(answer.Body, maxAnswer), answer.Body}
	}
	return answer, err
}
