package store

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/belfry-notify/belfry/internal/audience"
	"github.com/belfry-notify/belfry/internal/notify"
)

// An audiencePage holds up to audience.PageSize recipients as one blob: the
// embedded engine takes far longer over as many small documents.
type audiencePage struct {
	ID         string    `json:"id" bson:"_id"` // <audience>/<page number>
	Recipients []byte    `json:"recipients"`    // zstd of a JSON array
	ExpiresAt  time.Time `json:"expires_at"`
}

func audiencePageID(id string, page int) string { return id + "/" + strconv.Itoa(page) }

// How many pages go into one write, and how many out of the database: each
// write has to be done within patience.
const (
	pagesInserted = 8
	pagesDeleted  = 100
)

// InsertAudience stores an audience: its pages first, then the document that
// makes it visible. When it fails nothing can be seen of it, and what could not
// be taken back expires.
func (s *Store) InsertAudience(ctx context.Context, a *audience.Audience, pages iter.Seq2[[]notify.Recipient, error]) error {
	inserted, err := s.insertPages(ctx, a, pages)
	if err == nil && inserted != a.Pages {
		err = fmt.Errorf("an audience of %d pages came in %d", a.Pages, inserted)
	}
	if err == nil {
		err = s.InsertAudienceDocument(ctx, a)
	}
	if err != nil {
		// It may be there: a write that got no answer may have been made.
		_ = s.deleteAudience(context.WithoutCancel(ctx), a.ID, inserted)
	}
	return err
}

// insertPages says how many pages may have been inserted, also when it fails.
func (s *Store) insertPages(ctx context.Context, a *audience.Audience, pages iter.Seq2[[]notify.Recipient, error]) (int, error) {
	number := 0
	var batch [][]notify.Recipient
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		first := number - len(batch)
		err := s.InsertAudiencePages(ctx, a.ID, first, batch, a.ExpiresAt)
		batch = batch[:0]
		return err
	}
	for recipients, err := range pages {
		if err != nil {
			return number, err
		}
		batch = append(batch, recipients)
		number++
		if len(batch) == pagesInserted {
			if err := flush(); err != nil {
				return number, err
			}
		}
	}
	return number, flush()
}

// InsertAudiencePages stores pages of an audience one after the other, numbered
// from the first one on. Where one is there already it stops with CodeConflict,
// and those before it are stored.
func (s *Store) InsertAudiencePages(ctx context.Context, id string, first int, pages [][]notify.Recipient, expiresAt time.Time) error {
	documents := make([]audiencePage, len(pages))
	for i, recipients := range pages {
		blob, err := s.packer.pack(recipients)
		if err != nil {
			return err
		}
		documents[i] = audiencePage{ID: audiencePageID(id, first+i), Recipients: blob, ExpiresAt: expiresAt}
	}
	_, err := s.audiencePages.InsertMany(ctx, documents) // in order: it ends with the first that is taken
	return insertError(s.audiencePages, err)
}

// InsertAudienceDocument makes an audience visible whose pages are stored;
// CodeConflict when it is there already.
func (s *Store) InsertAudienceDocument(ctx context.Context, a *audience.Audience) error {
	return insert(ctx, s.audiences, a)
}

// Audience reads an audience; CodeNotFound when there is none, or it has expired.
func (s *Store) Audience(ctx context.Context, id string, now time.Time) (*audience.Audience, error) {
	a, err := find[audience.Audience](ctx, s.audiences, id)
	if err == nil && !now.Before(a.ExpiresAt) {
		err = &notify.Error{Code: notify.CodeNotFound, Detail: fmt.Sprintf("the audience %q has expired", id)}
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

// AudiencePage reads one of an audience's pages, which are numbered from 0;
// CodeNotFound when there is none such, or no longer.
func (s *Store) AudiencePage(ctx context.Context, id string, page int) ([]notify.Recipient, error) {
	stored, err := find[audiencePage](ctx, s.audiencePages, audiencePageID(id, page))
	if err != nil {
		return nil, err
	}
	var recipients []notify.Recipient
	if err := s.packer.unpack(stored.Recipients, &recipients); err != nil {
		return nil, fmt.Errorf("read page %s: %w", stored.ID, err)
	}
	return recipients, nil
}

// DeleteAudience makes an audience invisible, then deletes its pages;
// CodeNotFound when there is none. Pages that could not be deleted expire.
func (s *Store) DeleteAudience(ctx context.Context, id string, now time.Time) error {
	a, err := s.Audience(ctx, id, now)
	if err != nil {
		return err
	}
	return s.deleteAudience(context.WithoutCancel(ctx), id, a.Pages) // begun, it is finished
}

// deleteAudience deletes pages one by one: a lone _id is found at once, a list
// of them has the embedded engine read all there are.
func (s *Store) deleteAudience(ctx context.Context, id string, pages int) error {
	if _, err := s.audiences.DeleteOne(ctx, bson.D{{Key: "_id", Value: id}}); err != nil {
		return unavailable("delete from "+s.audiences.Name(), err)
	}
	for from := 0; from < pages; from += pagesDeleted {
		var models []mongo.WriteModel
		for page := from; page < min(from+pagesDeleted, pages); page++ {
			models = append(models, mongo.NewDeleteOneModel().SetFilter(bson.D{{Key: "_id", Value: audiencePageID(id, page)}}))
		}
		if _, err := s.audiencePages.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false)); err != nil {
			return unavailable("delete from "+s.audiencePages.Name(), err)
		}
	}
	return nil
}
