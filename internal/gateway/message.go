// Package gateway brings news to the sockets of users, on whichever instance of
// the API they are open.
//
// Each instance of the API is a gateway: it has a lease, and an address where
// it takes pushes over gRPC. While a user has sockets there a document says so.
// Who stores an item, or changes one, gives it to a Pusher, which looks up the
// gateways of its user and passes it on, to nobody else.
//
// All of it is for liveness only: what is stored is in the inbox, and a gateway
// that was told nothing finds it by itself. So nothing here waits or retries,
// and what does not fit into a queue is dropped.
package gateway

import (
	"bytes"
	"encoding/json"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/belfry-notify/belfry/internal/gateway/gatewaypb"
	"github.com/belfry-notify/belfry/internal/notify"
)

// A Message is news for all sockets of a user: an item that has come, or what
// has become of one.
type Message struct {
	UserID string
	Item   *Item
	State  *State
}

// An Item is one that has come, with what an acknowledgement needs to know.
type Item struct {
	ID             string
	NotificationID string
	DeliveryID     string
	JSON           json.RawMessage // as the API shows it
}

// A State is what has become of an item, and how many are unread now.
type State struct {
	ItemID     string
	SeenAt     *time.Time
	ReadAt     *time.Time
	ArchivedAt *time.Time
	Unread     int
}

// NewItem is an item as it goes to sockets.
func NewItem(item *notify.Item) (*Item, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(item); err != nil {
		return nil, err
	}
	return &Item{
		ID: item.ID, NotificationID: item.NotificationID, DeliveryID: item.DeliveryID,
		JSON: bytes.TrimSpace(text.Bytes()),
	}, nil
}

// size is about how much memory a message takes.
func (m *Message) size() int {
	const overhead = 256
	if m.Item != nil {
		return overhead + len(m.Item.JSON)
	}
	return overhead
}

func (m *Message) proto() *gatewaypb.Message {
	p := &gatewaypb.Message{UserId: m.UserID}
	if i := m.Item; i != nil {
		p.What = &gatewaypb.Message_Item{Item: &gatewaypb.Item{
			Id: i.ID, NotificationId: i.NotificationID, DeliveryId: i.DeliveryID, Json: i.JSON,
		}}
	} else if s := m.State; s != nil {
		p.What = &gatewaypb.Message_State{State: &gatewaypb.State{
			ItemId: s.ItemID, SeenAt: timestamp(s.SeenAt), ReadAt: timestamp(s.ReadAt), ArchivedAt: timestamp(s.ArchivedAt),
			Unread: uint64(s.Unread),
		}}
	}
	return p
}

// fromProto reads a message; nil for one that this version does not know.
func fromProto(p *gatewaypb.Message) *Message {
	m := &Message{UserID: p.GetUserId()}
	switch what := p.GetWhat().(type) {
	case *gatewaypb.Message_Item:
		m.Item = &Item{
			ID: what.Item.GetId(), NotificationID: what.Item.GetNotificationId(), DeliveryID: what.Item.GetDeliveryId(),
			JSON: what.Item.GetJson(),
		}
	case *gatewaypb.Message_State:
		s := what.State
		m.State = &State{
			ItemID: s.GetItemId(), SeenAt: moment(s.GetSeenAt()), ReadAt: moment(s.GetReadAt()), ArchivedAt: moment(s.GetArchivedAt()),
			Unread: int(s.GetUnread()),
		}
	default:
		return nil
	}
	return m
}

func timestamp(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}

func moment(t *timestamppb.Timestamp) *time.Time {
	if t == nil {
		return nil
	}
	at := t.AsTime()
	return &at
}
