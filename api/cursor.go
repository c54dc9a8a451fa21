package api

import (
	"encoding/base64"
	"encoding/json"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/store"
)

// Page is the part of a listing that a caller asks for.
type Page struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many items at most"`
	Cursor string `query:"cursor" maxLength:"512" doc:"The next_cursor of the page before"`
}

// A listing is one page of items.
type listing[T any] struct {
	Items      []T    `json:"items" nullable:"false"`
	NextCursor string `json:"next_cursor,omitempty" doc:"Absent on the last page"`
}

type listingOutput[T any] struct{ Body listing[T] }

// cut makes a page of what a query found that asked for one more item than the
// page holds; position is where an item stands in the listing.
func cut[T any](items []T, limit int, position func(T) any) *listingOutput[T] {
	var l listing[T]
	if len(items) > limit {
		items = items[:limit]
		l.NextCursor = encodeCursor(position(items[limit-1]))
	}
	l.Items = items
	if l.Items == nil {
		l.Items = []T{}
	}
	return &listingOutput[T]{Body: l}
}

// encodeCursor makes an opaque text of URL-safe characters.
func encodeCursor(position any) string {
	text, err := json.Marshal(position)
	if err != nil { // positions are structs of ours
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func decodeCursor(cursor string, position any) error {
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if err == nil {
		err = json.Unmarshal(text, position)
	}
	if err != nil {
		return &notify.Error{Code: notify.CodeInvalid, Fields: []notify.FieldError{
			{Location: "query.cursor", Message: "not a cursor of this listing", Value: cursor},
		}}
	}
	return nil
}

// after is the position that a page of a newest-first listing begins after,
// nil for the first one.
func (p Page) after() (*store.Position, error) {
	if p.Cursor == "" {
		return nil, nil
	}
	var position store.Position
	if err := decodeCursor(p.Cursor, &position); err != nil {
		return nil, err
	}
	return &position, nil
}

// afterKey is the same for a listing in the order of a key.
func (p Page) afterKey() (string, error) {
	if p.Cursor == "" {
		return "", nil
	}
	var key string
	return key, decodeCursor(p.Cursor, &key)
}
