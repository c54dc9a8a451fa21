package store

import (
	"context"
	"fmt"

	"github.com/belfry-notify/belfry/internal/notify"
)

// A chunkDocument is a claim on a chunk as it is kept: its entries as one blob,
// because the embedded engine takes far longer over as many documents of their
// size. Mails of one broadcast have most of their words in common.
type chunkDocument struct {
	notify.Chunk `bson:",inline"`
	Blob         []byte `json:"blob,omitempty"` // zstd of a JSON array
}

// maxBlob is how large the entries of a chunk may be together, as packed: what
// MongoDB takes for a document (16 MiB), less the rest of it.
const maxBlob = 15 << 20

// InsertChunk stores a claim on a chunk; CodeConflict when somebody else holds
// it, CodeInvalid when its entries are too large. They are stored with claim 1
// only.
func (s *Store) InsertChunk(ctx context.Context, c *notify.Chunk) error {
	document := chunkDocument{Chunk: *c}
	if c.Number == 1 && c.Entries != nil {
		blob, err := s.packer.pack(c.Entries)
		if err != nil {
			return fmt.Errorf("pack chunk %s: %w", c.ID, err)
		}
		if len(blob) > maxBlob {
			return &notify.Error{Code: notify.CodeInvalid, Detail: fmt.Sprintf("%d mails like this take %d MiB where they are kept together, at most %d are allowed",
				len(c.Entries), len(blob)>>20, maxBlob>>20)}
		}
		document.Blob = blob
	}
	return s.insertChunk.insert(ctx, document)
}

// Chunk reads a claim on a chunk, the first one with its entries but for what
// was erased of them; CodeNotFound when there is none.
func (s *Store) Chunk(ctx context.Context, id string) (*notify.Chunk, error) {
	c, err := s.chunk(ctx, id)
	if err == nil {
		_, err = s.erase(ctx, c)
	}
	return c, err
}

// chunk reads a claim on a chunk as it is stored.
func (s *Store) chunk(ctx context.Context, id string) (*notify.Chunk, error) {
	document, err := find[chunkDocument](ctx, s.chunks, id)
	if err != nil {
		return nil, err
	}
	c := &document.Chunk
	if document.Blob != nil {
		if err = s.packer.unpack(document.Blob, &c.Entries); err != nil {
			return nil, fmt.Errorf("unpack chunk %s: %w", id, err)
		}
	}
	return c, nil
}

// InsertDeliveries stores how deliveries ended, each whatever becomes of the
// others, and says which of them were stored already.
func (s *Store) InsertDeliveries(ctx context.Context, deliveries []*notify.Delivery) (taken []int, err error) {
	documents := make([]any, len(deliveries))
	for i, d := range deliveries {
		documents[i] = documentOf(d)
	}
	results, err := s.insertDeliveries.do(ctx, documents)
	if err != nil {
		return nil, err
	}
	for i, r := range results {
		switch {
		case notify.CodeOf(r.err) == notify.CodeConflict:
			taken = append(taken, i)
		case r.err != nil:
			err = r.err
		}
	}
	return taken, err
}
