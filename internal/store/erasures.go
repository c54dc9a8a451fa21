package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/belfry-notify/belfry/internal/notify"
)

// An erasure says that an entry of a chunk is to be seen no more. From its
// insert on whoever reads the chunk leaves the entry out, whatever the chunk's
// own document still holds.
type erasure struct {
	ID string `json:"id" bson:"_id"` // of the chunk's first claim, "/", and the number of the entry
}

// EraseEntry removes for good who an entry of a chunk is for and what there was
// to send; the chunk's other entries stay as they are. CodeNotFound when there
// is no such entry. When it fails it may be done in part, and is to be done
// again; done again it changes nothing.
//
// Of two who rewrite a chunk at once, one may bring back what the other one
// took out. So each looks again after it has written, and the last one to look
// finds nothing left to erase.
func (s *Store) EraseEntry(ctx context.Context, notificationID string, ref notify.EntryRef) error {
	id, entry, err := ref.First(notificationID)
	if err != nil {
		return err
	}
	c, err := s.chunk(ctx, id)
	if err != nil {
		return err
	}
	if len(c.Entries) == 0 { // it was closed before anything was rendered
		return nil
	}
	if entry < 0 || entry >= len(c.Entries) {
		return &notify.Error{Code: notify.CodeNotFound, Detail: fmt.Sprintf("no entry %d in chunk %s", entry, id)}
	}
	err = insert(ctx, s.erasures, erasure{ID: id + "/" + strconv.Itoa(entry)})
	if err != nil && notify.CodeOf(err) != notify.CodeConflict {
		return err
	}
	for {
		erased, err := s.erase(ctx, c)
		if err != nil || !erased {
			return err
		}
		blob, err := s.packer.pack(c.Entries)
		if err != nil {
			return fmt.Errorf("pack chunk %s: %w", id, err)
		}
		_, err = s.chunks.UpdateOne(ctx,
			bson.D{{Key: "_id", Value: id}}, bson.D{{Key: "$set", Value: bson.D{{Key: "blob", Value: blob}}}})
		if err != nil {
			return unavailable("update chunks", err)
		}
		if c, err = s.chunk(ctx, id); err != nil {
			return err
		}
	}
}

// erase leaves out of a chunk the entries that were erased, and says whether any
// of them was still there.
func (s *Store) erase(ctx context.Context, c *notify.Chunk) (erased bool, err error) {
	if len(c.Entries) == 0 {
		return false, nil
	}
	prefix := c.ID + "/"
	erasures, err := list[erasure](ctx, s.erasures, bson.D{{Key: "_id", Value: bson.D{
		{Key: "$gt", Value: prefix}, {Key: "$lt", Value: c.ID + "0"}, // which comes after "/"
	}}}, options.Find())
	for _, e := range erasures {
		entry, err := strconv.Atoi(strings.TrimPrefix(e.ID, prefix))
		if err != nil {
			return false, fmt.Errorf("an erasure of no entry: %q", e.ID)
		}
		erased = c.Erase(entry) || erased
	}
	return erased, err
}
