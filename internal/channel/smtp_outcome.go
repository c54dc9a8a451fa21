package channel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/belfry-notify/belfry/internal/notify"
)

// maxDetail is how many bytes of a server's words an outcome keeps.
const maxDetail = 500

// A stage is a step of the dialogue with the server.
type stage string

const (
	stageWait      stage = "wait for a connection"
	stageConnect   stage = "connect"
	stageGreeting  stage = "greeting"
	stageHello     stage = "EHLO"
	stageTLS       stage = "TLS"
	stageAuth      stage = "AUTH"
	stageReset     stage = "RSET"
	stageMail      stage = "MAIL"
	stageRecipient stage = "RCPT"
	stageData      stage = "DATA"
	stageContent   stage = "content" // on its way, the final dot certainly not out
	stageDot       stage = "end of content"
)

var errNoSMTPUTF8 = errors.New("an address has letters outside ASCII before its @, " +
	"and the mail server does not offer SMTPUTF8 (RFC 6531)")

// A setupError is a fault found on our side of the dialogue that an operator
// has to mend.
type setupError string

func (e setupError) Error() string { return string(e) }

// An smtpError is why a message did not get a 2xx to its final dot: a reply of
// the server (code and words) or, with code 0, the lack of one (err).
type smtpError struct {
	at    stage
	code  int
	words string
	err   error
}

// failed makes an smtpError of an error of net/textproto or net.
func failed(at stage, err error) *smtpError {
	var reply *textproto.Error
	if errors.As(err, &reply) {
		return &smtpError{at: at, code: reply.Code, words: reply.Msg}
	}
	return &smtpError{at: at, err: err}
}

// outcome sorts the error:
//
//	                         4xx        5xx          no answer
//	up to MAIL               transient  transient    transient
//	RCPT, DATA, content      transient  permanent*   transient
//	the final dot            transient  permanent    unknown
//
// What is refused up to MAIL is Belfry (its login, its certificate, its sender
// address), not the recipient. An operator can mend that, and with every
// message that is due at the time treated as failed for good, one wrong
// password would lose them all: so it is transient, with the reason
// provider_error to call an operator. The one exception is 552 to MAIL, which
// says that the message is larger than the server takes (RFC 1870, section 6).
//
// * For the same reason codes about the dialogue or the login rather than about
// the recipient (dialogueCode) are transient at RCPT and DATA too.
func (e *smtpError) outcome() notify.Outcome {
	o := notify.Outcome{Kind: notify.OutcomeTransient, Detail: e.detail(), Down: e.down()}
	switch {
	case errors.Is(e.err, errNoSMTPUTF8):
		o.Kind, o.Reason = notify.OutcomePermanent, notify.ReasonBadAddress
	case e.permanent():
		o.Kind, o.Reason = notify.OutcomePermanent, notify.ReasonRejected
	case e.at == stageDot && !e.refuses():
		o.Kind = notify.OutcomeUnknown
	case e.setup():
		o.Reason = notify.ReasonProviderError
	}
	return o
}

func (e *smtpError) permanent() bool {
	if e.code/100 != 5 {
		return false
	}
	switch e.at {
	case stageDot, stageContent:
		return true
	case stageRecipient, stageData:
		return !dialogueCode(e.code)
	case stageMail:
		return e.code == 552
	default:
		return false
	}
}

// dialogueCode says whether a 5xx is about commands, their order or the login
// (RFC 5321, section 4.2.2; RFC 4954, section 6). Postfix, for one, answers RCPT
// with 504 when it does not like the name in EHLO. 501 is not among them: at
// RCPT it is about the recipient's address.
func dialogueCode(code int) bool {
	switch code {
	case 500, 502, 503, 504, 530, 534, 535, 538:
		return true
	}
	return false
}

// setup says whether an operator, not time, has to mend this.
func (e *smtpError) setup() bool {
	var certificate *tls.CertificateVerificationError
	var notTLS tls.RecordHeaderError
	var ours setupError
	return e.code/100 == 5 || errors.As(e.err, &ours) ||
		errors.As(e.err, &certificate) || errors.As(e.err, &notTLS)
}

// down says whether the server failed, not this message: it did not answer, or
// did not let us in.
func (e *smtpError) down() bool {
	if errors.Is(e.err, errNoSMTPUTF8) || errors.Is(e.err, context.Canceled) {
		return false
	}
	return e.at != stageWait && (e.gone() || e.setup() && !e.permanent())
}

// refuses says whether the server said no.
func (e *smtpError) refuses() bool { return e.code/100 == 4 || e.code/100 == 5 }

// gone says whether the connection is of no more use.
func (e *smtpError) gone() bool { return e.code == 0 || e.code == 421 }

func (e *smtpError) detail() string {
	if e.code != 0 {
		return capDetail(fmt.Sprintf("%s: %d %s", e.at, e.code, e.words))
	}
	return capDetail(string(e.at) + ": " + explain(e.err))
}

// explain says in a person's words why there was no answer.
func explain(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "the time for this attempt was over"
	case errors.Is(err, context.Canceled):
		return "the attempt was cancelled"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the server closed the connection"
	}
	return err.Error()
}

// capDetail makes one printable line of at most maxDetail bytes.
func capDetail(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	s = strings.TrimSpace(s)
	if len(s) <= maxDetail {
		return s
	}
	end := maxDetail
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}
