package template

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/stretchr/testify/require"
)

func TestMailIsParsedOnce(t *testing.T) {
	t.Parallel()
	cache := newCache(mails)
	source := notify.Email{Subject: "{{ x }}", HTML: "{{ y }}"}
	parses := make([]*parsed[notify.Email], 50)
	var all sync.WaitGroup
	for i := range parses {
		all.Go(func() { parses[i] = cache.get(source) })
	}
	all.Wait()
	for _, m := range parses {
		require.Same(t, parses[0], m)
	}
	require.NotSame(t, parses[0], cache.get(notify.Email{Subject: "{{ x }}", HTML: "{{ z }}"}))
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	cache := newCache(mails)
	html := strings.Repeat("<p>text</p>", 90_000) // nearly 1 MiB
	for i := range 100 {
		cache.get(notify.Email{Subject: fmt.Sprint(i), HTML: html})
		require.LessOrEqual(t, cache.bytes, maxCacheBytes)
	}
	require.Greater(t, cache.kept.Len(), 50)
	require.Less(t, cache.kept.Len(), 70)
	for _, source := range cache.kept.Keys() {
		cache.kept.Remove(source)
	}
	require.Zero(t, cache.bytes)
}

func TestEngineIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	engine := New()
	source, data := order(t)
	want, err := engine.Email(t.Context(), source, data, ann())
	require.NoError(t, err)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				got, err := engine.Email(t.Context(), source, data, ann())
				if err != nil || got != want {
					t.Errorf("rendered %v, %v", got, err)
				}
			}
		})
	}
	all.Wait()
}

// TestRenderingIsPure renders what Go would order at random.
func TestRenderingIsPure(t *testing.T) {
	t.Parallel()
	const source = `{{ o }}{% for p in o %}{{ p }}{% endfor %}{{ o | json }}{{ l | uniq | join }}{{ l | sort: "a" | json }}`
	const data = `{"o": {"d": 1, "c": 2, "b": 3, "a": {"z": 1, "y": 2}}, "l": [{"a": 1, "b": 1}, {"b": 2, "a": 1}, {"a": 1, "b": 1}]}`
	want, err := renderText(t, source, data)
	require.NoError(t, err)
	for range 50 {
		got, err := renderText(t, source, data)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}
