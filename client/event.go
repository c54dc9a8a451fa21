package client

import (
	"encoding/json"
	"time"
)

// An Event is one thing that comes over the socket: one of its fields is set.
type Event struct {
	Connected *Connected // a connection is there, the first or another one
	Item      *Item      // an item has come into the inbox
	State     *State     // what has become of an item
	Gap       bool       // too much was missed: what is new is in the inbox, and is to be read there
	Problem   *Problem   // the server could not do what a frame of ours asked for

	Frame json.RawMessage // as the server sent it
}

// Connected says that the server knows whose inbox is listened to.
type Connected struct {
	ConnectionID string `json:"connection_id"`
	Unread       int    `json:"unread"`
}

// An Item is a message in a user's inbox. Title and body are text.
type Item struct {
	ID             string          `json:"id"`
	NotificationID string          `json:"notification_id"`
	Title          string          `json:"title"`
	Body           string          `json:"body"`
	URL            string          `json:"url"`
	Data           json.RawMessage `json:"data"`
	CreatedAt      time.Time       `json:"created_at"`
	SeenAt         *time.Time      `json:"seen_at"`
	ReadAt         *time.Time      `json:"read_at"`
	ArchivedAt     *time.Time      `json:"archived_at"`
}

// A State is what has become of an item, and how many are unread now.
type State struct {
	ItemID     string     `json:"item_id"`
	SeenAt     *time.Time `json:"seen_at"`
	ReadAt     *time.Time `json:"read_at"`
	ArchivedAt *time.Time `json:"archived_at"`
	Unread     int        `json:"unread"`
}

// A Problem is what the server complains of.
type Problem struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// A frame is any frame of the server.
type frame struct {
	Type   string `json:"type"`
	Cursor string `json:"cursor"`
	Item   *Item  `json:"item"`
}

// readFrame reads a frame. One of a type that is not known is an empty event.
func readFrame(text []byte) (event Event, cursor string, err error) {
	var f frame
	if err := json.Unmarshal(text, &f); err != nil {
		return Event{}, "", err
	}
	event.Frame = text
	switch f.Type {
	case "hello":
		event.Connected = &Connected{}
		err = json.Unmarshal(text, event.Connected)
	case "item":
		event.Item = f.Item
	case "state":
		event.State = &State{}
		err = json.Unmarshal(text, event.State)
	case "gap":
		event.Gap = true
	case "error":
		event.Problem = &Problem{}
		err = json.Unmarshal(text, event.Problem)
	default:
		event = Event{}
	}
	return event, f.Cursor, err
}
