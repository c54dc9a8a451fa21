package channel

import (
	"context"
	"slices"
	"strconv"
	"time"
)

// lastWords is how long a server that broke off the content is listened to for
// its reason, which is mostly there already.
const lastWords = 100 * time.Millisecond

// send makes one mail transaction (RFC 5321, section 3.3) and returns the words
// of the 2xx to the final dot. It sets stale if the session had been used
// before and ended before it accepted anything of this message: another one
// may then be tried at once.
func (c *smtpSession) send(ctx context.Context, l *letter) (string, *smtpError) {
	if !c.carries(l) {
		return "", &smtpError{at: stageMail, err: errNoSMTPUTF8}
	}
	stop := context.AfterFunc(ctx, c.drop)
	problem := c.announce(ctx, l)
	if !stop() { // it was dropped, or is about to be
		c.broken = true
		if problem == nil {
			problem = &smtpError{at: stageContent, err: ctx.Err()}
		}
	}
	words := ""
	if problem == nil {
		words, problem = c.transmit(ctx, l)
	}
	if problem != nil && problem.gone() {
		c.broken = true
		problem = problem.because(ctx)
	}
	c.used++
	return words, problem
}

type command struct {
	at   stage
	line string
}

// carries says whether a letter can go over the session.
func (c *smtpSession) carries(l *letter) bool { return !l.utf8 || c.utf8 && c.eightBit }

// announcement is what comes before the content.
func (c *smtpSession) announcement(l *letter) []command {
	return []command{
		{stageMail, c.mailCommand(l)},
		{stageRecipient, "RCPT TO:" + l.recipient},
		{stageData, "DATA"},
	}
}

// announce says who the message is from and for, and asks to send it. It
// returns nil after 354 only. Where the server takes commands in groups (RFC
// 2920) all of it is one round trip; where that was sent behind the message
// before, only the answers are read.
func (c *smtpSession) announce(ctx context.Context, l *letter) *smtpError {
	commands := c.announcement(l)
	if c.dirty {
		commands = slices.Insert(commands, 0, command{stageReset, "RSET"})
	}
	c.allow(ctx)
	if c.pipelining && !c.announced {
		if err := c.write(commands...); err != nil {
			return c.refusedAt(ctx, failed(commands[0].at, err))
		}
	}
	c.announced = false
	for _, command := range commands {
		c.allow(ctx)
		if !c.pipelining {
			if err := c.write(command); err != nil {
				return c.refusedAt(ctx, failed(command.at, err))
			}
		}
		if problem := c.answer(command.at); problem != nil {
			return c.refusedAt(ctx, problem)
		}
	}
	return nil
}

// refusedAt notes what a problem before the content means for the session. One
// that did not accept our sender is not used again.
func (c *smtpSession) refusedAt(ctx context.Context, problem *smtpError) *smtpError {
	switch problem.at {
	case stageReset, stageMail:
		c.broken = true
		c.stale = c.used > 0 && (problem.gone() || problem.at == stageReset)
	default:
		c.dirty = true
		if problem.at == stageRecipient && c.pipelining && !problem.gone() {
			c.catchUp(ctx)
		}
	}
	return problem
}

// catchUp reads the answer to a DATA that was sent along with a refused RCPT.
// A server that wants the content all the same (RFC 2920, section 3.1) gets
// none: the connection is given up.
func (c *smtpSession) catchUp(ctx context.Context) {
	c.allow(ctx)
	problem := c.answer(stageData)
	if problem == nil || problem.gone() {
		c.broken = true
	}
}

func (c *smtpSession) mailCommand(l *letter) string {
	line := "MAIL FROM:" + l.sender
	if c.size {
		line += " SIZE=" + strconv.Itoa(l.size)
	}
	if l.utf8 {
		line += " BODY=8BITMIME SMTPUTF8"
	}
	return line
}

func (c *smtpSession) write(commands ...command) error {
	w := c.text().W
	for _, command := range commands {
		_, _ = w.WriteString(command.line)
		_, _ = w.WriteString("\r\n")
	}
	return w.Flush() // reports an earlier error too
}

// answer reads one reply and compares its first digit, as RFC 5321, section
// 4.3.2 asks for, with what the stage needs.
func (c *smtpSession) answer(at stage) *smtpError {
	_, problem := c.reply(at)
	return problem
}

func (c *smtpSession) reply(at stage) (string, *smtpError) {
	code, words, err := c.text().ReadResponse(0)
	if err != nil {
		return "", failed(at, err)
	}
	wanted := 2
	if at == stageData {
		wanted = 3
	}
	if code/100 != wanted {
		return "", &smtpError{at: at, code: code, words: words}
	}
	return words, nil
}

// transmit sends the content and waits for the answer to its final dot.
//
// Content and dot are one write, and how many bytes of it the kernel took is
// known exactly: bufio counts them, and so does crypto/tls, in whole records,
// of which half a one is worth nothing. As long as the dot is not among them
// the server cannot have the message.
//
// Where somebody waits for a session, the commands for that message travel
// behind the dot (RFC 2920, section 3.1), which spares it a write and a wait.
// Its content does not.
func (c *smtpSession) transmit(ctx context.Context, l *letter) (string, *smtpError) {
	c.dirty = false // after the dot, whatever the answer, no transaction is open
	_ = c.raw.SetDeadline(earliest(ctx, c.config.AnswerTimeout))
	w := c.text().W
	n, err := w.Write(c.withNext(l.content))
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		c.broken = true
		if out := n - w.Buffered(); out <= l.dot {
			return "", c.brokenOff(ctx, failed(stageContent, err))
		} else if out < len(l.content) {
			return "", failed(stageDot, err)
		} // else only the next one's commands are not out, and there may be an answer
	}
	words, problem := c.reply(stageDot)
	if problem != nil && !problem.refuses() {
		c.broken = true // it said something else: who knows what it says next
	}
	return words, problem
}

// withNext is content, and the commands for the message that follows it if one
// waits.
func (c *smtpSession) withNext(content []byte) []byte {
	if !c.pipelining {
		return content
	}
	if c.next = c.pool.next(c); c.next == nil || !c.carries(c.next.letter) {
		return content
	}
	c.announced = true
	for _, command := range c.announcement(c.next.letter) {
		content = append(append(content, command.line...), "\r\n"...)
	}
	return content
}

// brokenOff asks the server, which has not got the final dot, for the reason it
// gave before it closed the connection, such as 552.
func (c *smtpSession) brokenOff(ctx context.Context, problem *smtpError) *smtpError {
	_ = c.raw.SetReadDeadline(earliest(ctx, lastWords))
	if refusal := c.answer(stageContent); refusal != nil && refusal.refuses() {
		return refusal
	}
	return problem
}
