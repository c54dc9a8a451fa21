package store_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

// What is deleted stays so, whoever changes it at the same time.
func TestADeleteAndAChangeAtTheSameTime(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx := t.Context()
	for range 40 {
		require.NoError(t, s.CreateTemplate(ctx, &notify.Template{Name: "fleeting"}))
		var deleted, changed error
		var both sync.WaitGroup
		both.Go(func() { deleted = s.DeleteTemplate(ctx, "fleeting", now()) })
		both.Go(func() { changed = s.UpdateTemplate(ctx, &notify.Template{Name: "fleeting"}) })
		both.Wait()
		require.NoError(t, deleted)
		if changed != nil {
			require.Equal(t, notify.CodeTemplateNotFound, notify.CodeOf(changed))
		}
		_, err := s.VisibleTemplate(ctx, "fleeting", 0)
		require.Equal(t, notify.CodeTemplateNotFound, notify.CodeOf(err))
	}
}
