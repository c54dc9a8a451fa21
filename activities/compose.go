package activities

import (
	"context"
	"errors"
	"strings"

	"github.com/belfry-notify/belfry/internal/notify"
)

// An unsendableError is why there is nothing to send to a recipient.
type unsendableError struct {
	reason  notify.Reason
	attempt notify.Attempt
}

func (e *unsendableError) Error() string { return e.attempt.Error }

// message is what there is to send by a first claim, also in a later attempt.
func (j job) message(first *notify.Claim) notify.Message {
	m := notify.Message{
		DeliveryID: first.DeliveryID, NotificationID: first.NotificationID,
		Address: first.Address, Name: first.Name, Date: first.At,
	}
	if first.Channel == notify.ChannelInbox {
		m.Inbox = &notify.InboxMessage{UserID: first.UserID, Content: *first.Content.Inbox, Data: j.notification.Data}
	} else {
		m.Email = *first.Content.Email
	}
	return m
}

// compose looks up the recipient and renders the content for a first claim.
// What ends the delivery here and now is an unsendableError.
func (a *Activities) compose(ctx context.Context, j job, to notify.Recipient, claim *notify.Claim) error {
	user, err := a.lookUp(ctx, to)
	return a.composeFor(ctx, j, user, err, claim)
}

// composeFor renders for a user as looked up, over the claim's channel.
func (a *Activities) composeFor(ctx context.Context, j job, user notify.User, err error, claim *notify.Claim) error {
	if notify.CodeOf(err) == notify.CodeUserNotFound {
		return a.unsendable(notify.ReasonUserNotFound, "idp", "the idp knows no such user")
	}
	if err != nil {
		return err
	}
	var content notify.Bodies
	switch {
	case claim.Channel == notify.ChannelInbox && user.ID == "":
		return a.unsendable(notify.ReasonNoAddress, "inbox", "a mail address has no inbox: users have")
	case claim.Channel == notify.ChannelInbox:
		content, err = a.composeItem(ctx, j, user)
	case user.Email == "":
		return a.unsendable(notify.ReasonNoAddress, "idp", "the idp knows no mail address of the user")
	default:
		content, err = a.composeMail(ctx, j, user)
	}
	var invalid *notify.Error
	if errors.As(err, &invalid) && invalid.Code == notify.CodeInvalid {
		return a.unsendable(notify.ReasonBadContent, "template", describe(invalid))
	}
	if err != nil {
		return err
	}
	claim.Content = &content
	if content.Email != nil {
		claim.Address, claim.Name = user.Email, user.Name
	}
	return nil
}

func (a *Activities) composeMail(ctx context.Context, j job, to notify.User) (notify.Bodies, error) {
	rendered, err := a.Renderer.Email(ctx, *j.source.Email, j.notification.Data, to)
	return notify.Bodies{Email: &rendered}, err
}

func (a *Activities) composeItem(ctx context.Context, j job, to notify.User) (notify.Bodies, error) {
	rendered, err := a.Renderer.Inbox(ctx, *j.source.Inbox, j.notification.Data, to)
	return notify.Bodies{Inbox: &rendered}, err
}

// lookUp finds who a recipient is: the user that the idp knows, or who the
// request says.
func (a *Activities) lookUp(ctx context.Context, to notify.Recipient) (notify.User, error) {
	if to.UserID == "" {
		return notify.User{Email: to.Email, Name: to.Name}, nil
	}
	return a.Directory.Lookup(ctx, to.UserID)
}

func (a *Activities) unsendable(reason notify.Reason, who, what string) error {
	return &unsendableError{reason: reason, attempt: notify.Attempt{At: a.Now(), Provider: who, Error: what}}
}

// describe says in one line what is wrong with the content.
func describe(e *notify.Error) string {
	parts := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		parts[i] = f.Location + ": " + f.Message
	}
	return strings.Join(parts, "; ")
}
