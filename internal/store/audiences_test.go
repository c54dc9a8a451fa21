package store_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/belfry-notify/belfry/internal/audience"
	"github.com/belfry-notify/belfry/internal/mongotest"
	"github.com/belfry-notify/belfry/internal/notify"
)

func newAudience(pages int) *audience.Audience {
	return &audience.Audience{
		ID: uuid.NewString(), Total: pages * 2, Duplicates: 1, Pages: pages, CreatedAt: now(), ExpiresAt: now().Add(time.Hour),
	}
}

// pagesOf are pages of two, and then an error if there is one.
func pagesOf(pages int, err error) iter.Seq2[[]notify.Recipient, error] {
	return func(yield func([]notify.Recipient, error) bool) {
		for i := range pages {
			if !yield([]notify.Recipient{{UserID: fmt.Sprint(i)}, {Email: fmt.Sprintf("u%d@example.com", i), Name: "Ü"}}, nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// countPages counts the pages that are stored, of whatever audience.
func countPages(t *testing.T, uri string) int64 {
	t.Helper()
	n, err := collection(t, uri, "audience_pages").CountDocuments(context.WithoutCancel(t.Context()), bson.D{})
	require.NoError(t, err)
	return n
}

func TestAnAudienceIsKeptInPages(t *testing.T) {
	t.Parallel()
	uri := mongotest.NewURI(t)
	s := reopen(t, uri)
	ctx := t.Context()
	const pages = 105 // more than one write takes in and out
	a, other := newAudience(pages), newAudience(1)
	for _, a := range []*audience.Audience{a, other} {
		require.NoError(t, s.InsertAudience(ctx, a, pagesOf(a.Pages, nil)))
		stored, err := s.Audience(ctx, a.ID, now())
		require.NoError(t, err)
		require.Equal(t, a, stored)
	}
	for page := range pages {
		recipients, err := s.AudiencePage(ctx, a.ID, page)
		require.NoError(t, err)
		require.Equal(t, []notify.Recipient{{UserID: fmt.Sprint(page)}, {Email: fmt.Sprintf("u%d@example.com", page), Name: "Ü"}}, recipients)
	}
	_, err := s.AudiencePage(ctx, a.ID, pages)
	require.Equal(t, notify.CodeNotFound, notify.CodeOf(err))

	require.NoError(t, s.DeleteAudience(ctx, a.ID, now()))
	_, err = s.Audience(ctx, a.ID, now())
	require.Equal(t, notify.CodeNotFound, notify.CodeOf(err))
	require.Equal(t, notify.CodeNotFound, notify.CodeOf(s.DeleteAudience(ctx, a.ID, now())))
	require.EqualValues(t, 1, countPages(t, uri), "the other one's")
	_, err = s.AudiencePage(ctx, other.ID, 0)
	require.NoError(t, err)
}

func TestAnExpiredAudienceIsNotThere(t *testing.T) {
	t.Parallel()
	s := open(t)
	a := newAudience(1)
	require.NoError(t, s.InsertAudience(t.Context(), a, pagesOf(1, nil)))
	_, err := s.Audience(t.Context(), a.ID, a.ExpiresAt.Add(-time.Millisecond))
	require.NoError(t, err)
	_, err = s.Audience(t.Context(), a.ID, a.ExpiresAt)
	require.Equal(t, notify.CodeNotFound, notify.CodeOf(err))
	require.Equal(t, notify.CodeNotFound, notify.CodeOf(s.DeleteAudience(t.Context(), a.ID, a.ExpiresAt)))
}

func TestAnAudienceThatBreaksOffLeavesNothing(t *testing.T) {
	t.Parallel()
	uri := mongotest.NewURI(t)
	s := reopen(t, uri)
	full := errors.New("the disk is full")
	ctx, cancel := context.WithCancel(t.Context())
	tests := []struct {
		name  string
		pages iter.Seq2[[]notify.Recipient, error]
		want  error
	}{
		{"the pages cannot be read on", pagesOf(11, full), full},
		{"a page is missing", pagesOf(11, nil), nil},
		{"a page is missing and there was but one write", pagesOf(1, nil), nil},
		{"the caller goes away", func(yield func([]notify.Recipient, error) bool) {
			for page, err := range pagesOf(12, nil) {
				if yield(page, err); page[0].UserID == "9" {
					cancel()
				}
			}
		}, context.Canceled},
	}
	for _, test := range tests { // one after the other: they count the same pages
		a := newAudience(12)
		err := s.InsertAudience(ctx, a, test.pages)
		require.Error(t, err, test.name)
		if test.want != nil {
			require.ErrorIs(t, err, test.want, test.name)
		}
		_, err = s.Audience(t.Context(), a.ID, now())
		require.Equal(t, notify.CodeNotFound, notify.CodeOf(err), test.name)
		require.Zero(t, countPages(t, uri), test.name)
	}
}

func TestPagesEndAtOneThatIsTaken(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx := t.Context()
	page := func(user string) []notify.Recipient { return []notify.Recipient{{UserID: user}} }
	expires := now().Add(time.Hour)
	require.NoError(t, s.InsertAudiencePages(ctx, "a", 2, [][]notify.Recipient{page("theirs")}, expires))
	err := s.InsertAudiencePages(ctx, "a", 0, [][]notify.Recipient{page("u0"), page("u1"), page("u2"), page("u3")}, expires)
	require.Equal(t, notify.CodeConflict, notify.CodeOf(err))
	for number, user := range []string{"u0", "u1", "theirs"} {
		stored, err := s.AudiencePage(ctx, "a", number)
		require.NoError(t, err)
		require.Equal(t, page(user), stored)
	}
	_, err = s.AudiencePage(ctx, "a", 3)
	require.Equal(t, notify.CodeNotFound, notify.CodeOf(err))

	a := newAudience(0)
	require.NoError(t, s.InsertAudienceDocument(ctx, a))
	require.Equal(t, notify.CodeConflict, notify.CodeOf(s.InsertAudienceDocument(ctx, a)))
}

func TestAFullPageOfLongNamesFits(t *testing.T) {
	t.Parallel()
	s := open(t)
	page := make([]notify.Recipient, audience.PageSize)
	for i := range page {
		name := make([]rune, notify.MaxNameLength)
		for j := range name {
			name[j] = rune(0x1f300 + (i*31+j*7)%700)
		}
		page[i] = notify.Recipient{Email: fmt.Sprintf("%d@example.com", i), Name: string(name)}
	}
	a := newAudience(16)
	require.NoError(t, s.InsertAudience(t.Context(), a, func(yield func([]notify.Recipient, error) bool) {
		for range a.Pages {
			if !yield(slices.Clone(page), nil) {
				return
			}
		}
	}))
	stored, err := s.AudiencePage(t.Context(), a.ID, 15)
	require.NoError(t, err)
	require.Equal(t, page, stored)
}
