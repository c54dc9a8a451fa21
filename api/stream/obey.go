package stream

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/store"
)

// now is the moment as Belfry keeps it: UTC, in milliseconds.
func (s *Stream) now() time.Time { return s.Now().UTC().Truncate(time.Millisecond) }

// obey does what a frame asks for.
func (c *connection) obey(text []byte) *ending {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.gone), storeTimeout)
	defer cancel()
	switch kind := frameType(text); kind {
	case "ack":
		return c.ack(ctx, text)
	case "seen", "read", "archive":
		return c.change(ctx, store.ItemChange(kind), text)
	case "hello":
		return badFrame("there was a hello already")
	}
	return badFrame("a frame has to be JSON, its type one of ack, seen, read and archive")
}

// complain tells the client what could not be done.
func (c *connection) complain(err error) *ending {
	frame := errorFrame{"error", string(notify.CodeOf(err)), "a service that Belfry needs cannot be reached; try again"}
	switch notify.CodeOf(err) {
	case notify.CodeNotFound:
		frame.Detail = "there is no such item in this inbox"
	case notify.CodeUnavailable:
		c.stream.Log.Warn("what a client's frame asks for could not be done", "error", err)
	default:
		c.stream.Log.Error("what a client's frame asks for could not be done", "error", err)
		frame.Code, frame.Detail = string(notify.CodeInternal), "something went wrong inside Belfry"
	}
	if !c.out.offer(textOf(frame)) {
		return &ending{closeTooMuch, wordTooMuch, "the client reads too slowly"}
	}
	return nil
}

// change does something with an item, and tells all of the user's sockets.
func (c *connection) change(ctx context.Context, change store.ItemChange, text []byte) *ending {
	frame, end := decode[clientChange](text)
	if end != nil {
		return end
	}
	if uuid.Validate(frame.ItemID) != nil {
		return badFrame("item_id: is no UUID")
	}
	item, err := c.stream.Store.ChangeItem(ctx, c.userID, frame.ItemID, change, c.stream.now())
	if err != nil {
		return c.complain(err)
	}
	unread, err := c.stream.Store.Unread(ctx, c.userID)
	if err != nil {
		return c.complain(err)
	}
	c.stream.Pusher.PushState(item, unread)
	return nil
}

// ack notes that the client has the items up to a cursor. One of an earlier
// connection says it of the item that it came with.
func (c *connection) ack(ctx context.Context, text []byte) *ending {
	frame, end := decode[clientAck](text)
	if end != nil {
		return end
	}
	position, err := parseCursor(frame.Cursor)
	if err != nil {
		return badFrame("cursor: " + err.Error())
	}
	if position.item == uuid.Nil {
		return nil
	}
	items := c.upTo(position.item.String())
	if items == nil {
		item, err := c.stream.Store.Item(ctx, c.userID, position.item.String())
		if notify.CodeOf(err) == notify.CodeNotFound { // it was erased since
			return nil
		}
		if err != nil {
			return c.complain(err)
		}
		items = []notify.Item{*item}
	}
	if err := c.stream.Store.AckItems(ctx, items, c.stream.now()); err != nil {
		return c.complain(err)
	}
	c.acknowledged(position.item.String())
	return nil
}
