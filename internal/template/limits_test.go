package template

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/stretchr/testify/require"
)

// refusedWithin is how long the refusal of hostile input may take. Nearly all
// take milliseconds, and those that are stopped by the clock 250 ms. The race
// detector makes parsing some ten times slower.
const refusedWithin = time.Second * raceFactor

// doubling makes a variable x of 2^20 and more bytes of "0123456789".
const doubling = `{% assign x = "0123456789" %}{% for i in (1..30) %}{% assign x = x | append: x %}{% endfor %}`

// kilobytes64 is a variable x of 64 KiB.
const kilobytes64 = `{% assign x = "0123456789abcdef" %}{% for i in (1..12) %}{% assign x = x | append: x %}{% endfor %}`

func TestLimitsOfRendering(t *testing.T) {
	t.Parallel()
	const (
		turns = "more than 100,000 loop turns"
		value = "a value of more than 1 MiB was built"
		long  = "the rendered text is longer than 1 MiB"
		held  = "variables hold more than 8 MiB"
		slow  = "rendering took longer than 250ms"
	)
	for name, c := range map[string]struct{ source, want string }{
		"a loop of 10^8":          {`{% for i in (1..100000000) %}x{% endfor %}`, turns},
		"an empty loop":           {`{% for i in (1..100000000) %}{% endfor %}`, turns},
		"empty loops, 10^5 each":  {`{% for i in (1..100000) %}{% for j in (1..100000) %}{% endfor %}{% endfor %}`, turns},
		"a table of 10^8":         {`{% tablerow i in (1..100000000) %}{% endtablerow %}`, long},
		"continue":                {`{% for i in (1..100000000) %}{% continue %}{% endfor %}`, turns},
		"a range without end":     {`{% for i in (-9223372036854775808..9223372036854775806) %}{% endfor %}{% for i in (1..9223372036854775807) %}{% endfor %}`, turns},
		"append":                  {doubling, value},
		"prepend":                 {strings.ReplaceAll(doubling, "append", "prepend"), value},
		"replace each":            {strings.ReplaceAll(doubling, "append: x", `replace: "0", x`), value},
		"replace between":         {kilobytes64 + `{{ x | replace: "", x }}`, value},
		"capture":                 {strings.ReplaceAll(doubling, "{% assign x = x | append: x %}", "{% capture x %}{{ x }}{{ x }}{% endcapture %}"), value},
		"join a range":            {`{{ (1..100000000) | join }}`, value},
		"assign a range":          {`{% assign x = (1..100000000) %}`, value},
		"join with much":          {kilobytes64 + `{{ (1..60000) | join: x }}`, value},
		"concat":                  {`{% assign x = "a,b" | split: "," %}{% for i in (1..30) %}{% assign x = x | concat: x %}{% endfor %}`, value},
		"split into characters":   {kilobytes64 + `{% assign x = x | append: x %}{{ x | split: "" }}`, value},
		"escape":                  {`{% capture x %}{% for i in (1..99000) %}&&&&{% endfor %}{% endcapture %}{{ x | escape }}`, value},
		"url_encode":              {`{% capture x %}{% for i in (1..99000) %}&&&&{% endfor %}{% endcapture %}{{ x | url_encode }}`, value},
		"json":                    {`{% capture x %}{% for i in (1..99000) %}<<<<{% endfor %}{% endcapture %}{{ x | json }}`, value},
		"newline_to_br":           {"{% capture x %}{% for i in (1..99000) %}\n\n{% endfor %}{% endcapture %}{{ x | newline_to_br }}", value},
		"output":                  {kilobytes64 + `{% for i in (1..17) %}{{ x }}{% endfor %}`, long},
		"output of lists":         {kilobytes64 + `{% assign l = x | split: "," %}{% for i in (1..4) %}{% assign l = l | concat: l %}{% endfor %}{{ l }}`, value},
		"many variables":          {manyVariables(), held},
		"upcase again and again":  {kilobytes64 + `{% for i in (1..90000) %}{% assign y = x | upcase %}{% endfor %}`, slow},
		"sort again and again":    {`{% for i in (1..90000) %}{% assign y = (1..10000) | reverse | sort %}{% endfor %}`, slow},
		"uniq again and again":    {`{% for i in (1..90000) %}{% assign y = (1..10000) | uniq %}{% endfor %}`, slow},
		"compare again and again": {`{% assign x = (1..60000) %}{% for i in (1..90000) %}{% if x == x and x == x and x == x and x == x %}{% endif %}{% endfor %}`, slow},
		"search again and again":  {kilobytes64 + `{% for i in (1..90000) %}{% if x contains "f1" or x contains "e1" %}{% endif %}{% endfor %}`, slow},
		"filters in a chain":      {kilobytes64 + `{% for i in (1..90000) %}{% assign y = x` + strings.Repeat(" | upcase | downcase", 200) + ` %}{% endfor %}`, slow},
		"objects":                 {`{% for i in (1..90000) %}{% if deep == deep and deep == deep %}{% endif %}{% endfor %}`, slow},
		"objects as JSON":         {`{% for i in (1..90000) %}{% assign x = deep | json %}{% endfor %}`, slow},
		"a date's width":          {`{{ 0 | date: "%100d" }}`, "a width of more than 99"},
		"a date's width, flagged": {`{{ 0 | date: "%-_1000000000d" }}`, "a width of more than 99"},
		"a date's format":         {kilobytes64 + `{{ 0 | date: x }}`, "a format of more than 1024 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := notify.Object(`{"deep": ` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`)
			start := time.Now()
			_, err := renderText(t, c.source, data)
			took := time.Since(start)
			require.Contains(t, faults(t, err)[0].Message, c.want)
			require.Equal(t, "email.text", faults(t, err)[0].Location)
			require.Less(t, took, refusedWithin)
		})
	}
}

// manyVariables each hold 640 KB.
func manyVariables() string {
	source := strings.ReplaceAll(doubling, "(1..30)", "(1..16)")
	for _, name := range strings.Split("abcdefghijklmn", "") {
		source += "{% assign " + name + " = x | append: '" + name + "' %}"
	}
	return source
}

func TestWithinLimits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		source string
		size   int
	}{
		"100,000 turns":         {`{% for i in (1..100000) %}x{% endfor %}`, 100_000},
		"the first of 10^8":     {`{% for i in (1..100000000) limit: 1 %}x{% endfor %}`, 1},
		"the last of 10^8":      {`{% for i in (1..100000000) reversed offset: 99999999 %}x{% endfor %}`, 1},
		"break out of 10^8":     {`{% for i in (1..100000000) %}x{% break %}{% endfor %}`, 1},
		"a body of 1 MiB":       {kilobytes64 + `{% for i in (1..16) %}{{ x }}{% endfor %}`, 1 << 20},
		"truncate to much":      {kilobytes64 + `{{ x | truncate: 2000 }}{{ x | truncatewords: 5000 }}`, 2000 + 65536},
		"a loop's variable":     {kilobytes64 + `{% for i in (1..2) %}{% for i in (1..100) %}{% assign i = x | append: i %}{% endfor %}{% endfor %}{{ x | size }}`, 5},
		"a value used up again": {`{% for i in (1..100) %}` + strings.ReplaceAll(doubling, "(1..30)", "(1..10)") + `{% endfor %}x`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := renderText(t, c.source, "")
			require.NoError(t, err)
			require.Len(t, got, c.size)
		})
	}
}

func TestLimitsOfParts(t *testing.T) {
	t.Parallel()
	data := notify.Object(`{"x": "` + strings.Repeat("é", 499) + `", "y": "` + strings.Repeat("y", 60_000) + `"}`)
	rendered, err := New().Email(t.Context(), notify.Email{Subject: "{{ x }}", HTML: "h"}, data, ann())
	require.NoError(t, err)
	require.Len(t, rendered.Subject, notify.MaxSubjectBytes)

	_, err = New().Email(t.Context(), notify.Email{
		Subject: "{{ x }}.",
		HTML:    `{% for i in (1..18) %}{{ y }}{% endfor %}`,
		From:    `{{ x }}{{ x }} <a@b.c>`,
	}, data, ann())
	require.Equal(t, []notify.FieldError{
		{Location: "email.subject", Message: "line 1: the rendered text is longer than 998 bytes"},
		{Location: "email.html", Message: "line 1: the rendered text is longer than 1 MiB"},
		{Location: "email.from", Message: "line 1: the rendered text is longer than 998 bytes"},
	}, faults(t, err))

	_, err = New().Email(t.Context(), notify.Email{Subject: "s", HTML: "h"},
		notify.Object(`{"x": "`+strings.Repeat("x", notify.MaxDataBytes)+`"}`), ann())
	require.Equal(t, []notify.FieldError{{Location: "data", Message: "longer than 65536 bytes"}}, faults(t, err))
}

func TestLimitsAreSharedByParts(t *testing.T) {
	t.Parallel()
	const half = `{% for i in (1..60000) %}{% endfor %}`
	_, err := New().Email(t.Context(), notify.Email{Subject: half + "s", HTML: half, Text: "{{ nme }}"}, "", ann())
	require.Equal(t, []notify.FieldError{
		{Location: "email.html", Message: "line 1: more than 100,000 loop turns"},
	}, faults(t, err), "nothing is rendered after a limit of the whole mail")
}

// fakeClock moves on by step each time it is looked at.
func fakeClock(step time.Duration) func() time.Time {
	now := time.Unix(0, 0)
	return func() time.Time {
		now = now.Add(step)
		return now
	}
}

func TestTimeIsCountedInWork(t *testing.T) {
	t.Parallel()
	const busy = `{% for i in (1..99000) %}{{ i | times: 2 }}{% endfor %}`
	for name, c := range map[string]struct {
		source string
		step   time.Duration
		slow   bool
	}{
		"little work on a machine that stands still": {`{% for i in (1..500) %}{{ i }}{% endfor %}`, time.Hour, false},
		"much work on a fast machine":                {busy, time.Microsecond, false},
		"much work on a slow machine":                {busy, 50 * time.Millisecond, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engine := New()
			engine.now = fakeClock(c.step)
			_, err := engine.Email(t.Context(), notify.Email{Subject: "s", HTML: c.source, Text: "t"}, "", ann())
			if !c.slow {
				require.NoError(t, err)
				return
			}
			require.Equal(t, "line 1: rendering took longer than 250ms", faults(t, err)[0].Message)
		})
	}
}

func TestOneStallIsForgiven(t *testing.T) {
	t.Parallel()
	engine, looks := New(), 0
	engine.now = func() time.Time {
		if looks++; looks < 5 {
			return time.Unix(0, 0)
		}
		return time.Unix(3600, 0)
	}
	_, err := engine.Email(t.Context(),
		notify.Email{Subject: "s", HTML: `{% for i in (1..90000) %}{% endfor %}`, Text: "t"}, "", ann())
	require.NoError(t, err)
	require.Greater(t, looks, 5)
}

func TestRenderingStopsWithContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	engine, looks := New(), 0
	engine.now = func() time.Time {
		if looks++; looks == 3 {
			cancel()
		}
		return time.Unix(0, 0)
	}
	_, err := engine.Email(ctx, notify.Email{Subject: "s", HTML: `{% for i in (1..90000) %}{{ i }}{% endfor %}`}, "", ann())
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 3, looks, "it stopped at once")
}
