package activities

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/schedule"
)

var ranAt = time.Date(2026, time.March, 29, 1, 0, 0, 0, time.UTC)

// recurring is one schedule over the ledger in memory.
type recurring struct {
	*memory
	is      *schedule.Schedule // nil: deleted
	runs    map[string]schedule.Run
	version int // of its template; 0: it is gone
	started []string
	now     time.Time
}

func newRecurring() *recurring {
	return &recurring{
		memory: newMemory(), runs: map[string]schedule.Run{}, version: 1, now: ranAt.Add(time.Second),
		is: &schedule.Schedule{Name: "report", Definition: schedule.Definition{
			Every: time.Minute, TimeZone: "UTC", StartAt: &startedAt,
			CatchupWindow: time.Hour,
			Notification:  notify.Request{Template: "welcome", To: []notify.Recipient{{Email: "ann@example.com"}}},
		}},
	}
}

func (r *recurring) Schedule(ctx context.Context, _ string) (*schedule.Schedule, error) {
	leave, err := r.enter(ctx, "find schedule")
	if err != nil {
		return nil, err
	}
	defer leave()
	if r.is == nil {
		return nil, errMissing
	}
	return r.is, nil
}

func (r *recurring) Run(ctx context.Context, id string) (*schedule.Run, error) {
	return find(ctx, r.memory, "find run", r.runs, id)
}

func (r *recurring) InsertRun(ctx context.Context, run *schedule.Run) error {
	return insert(ctx, r.memory, "insert run", r.runs, run.ID, *run)
}

func (r *recurring) LastStartedRun(ctx context.Context, _ string, before time.Time) (*schedule.Run, error) {
	leave, err := r.enter(ctx, "find last run")
	if err != nil {
		return nil, err
	}
	defer leave()
	var last *schedule.Run
	for _, run := range r.runs {
		if run.Status == schedule.RunStarted && run.ScheduledAt.Before(before) && (last == nil || run.ScheduledAt.After(last.ScheduledAt)) {
			last = &run
		}
	}
	return last, nil
}

func (r *recurring) InsertNotification(ctx context.Context, n *notify.Record) error {
	return insert(ctx, r.memory, "insert notification", r.notifications, n.ID, *n)
}

func (r *recurring) Pin(_ context.Context, template string) (*notify.TemplateRef, error) {
	if r.version == 0 {
		return nil, &notify.Error{Code: notify.CodeTemplateNotFound, Detail: "there is no template " + template}
	}
	return &notify.TemplateRef{Name: template, Version: r.version}, nil
}

func (r *recurring) Record(_ context.Context, _ *notify.Request, id string, template *notify.TemplateRef, at time.Time) (*notify.Record, error) {
	return &notify.Record{
		Notification: notify.Notification{ID: id, Template: template, CreatedAt: at},
		Progress:     notify.Progress{Status: notify.StatusSending},
	}, nil
}

func (r *recurring) start(ctx context.Context, n *notify.Notification) error {
	leave, err := r.enter(ctx, "start")
	if err != nil {
		return err
	}
	defer leave()
	r.started = append(r.started, n.ID)
	return nil
}

func (r *recurring) makeRun(t *testing.T, at time.Time, byHand bool) (*schedule.Run, error) {
	t.Helper()
	runs := &Runs{Store: r, Intake: r, Start: r.start, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return r.now }}
	return runs.MakeRun(t.Context(), RunRequest{Schedule: "report", ScheduledAt: at, ByHand: byHand})
}

func TestARunIsMadeOnce(t *testing.T) {
	t.Parallel()
	r := newRecurring()
	first, err := r.makeRun(t, ranAt, false)
	require.NoError(t, err)
	require.Equal(t, schedule.RunStarted, first.Status)
	r.version, r.is.Paused, r.now = 2, true, r.now.Add(48*time.Hour)
	for _, byHand := range []bool{false, true} {
		again, err := r.makeRun(t, ranAt, byHand)
		require.NoError(t, err)
		require.Equal(t, first, again)
	}
	require.Equal(t, []string{schedule.NotificationID("report", ranAt)}, r.started)
	n := r.notifications[first.NotificationID]
	require.Equal(t, "report", n.Schedule)
	require.Equal(t, ranAt, *n.ScheduledAt)
	require.Equal(t, ranAt.Add(time.Second), n.CreatedAt)
}

// A run whose worker dies before any of its operations, or after it, ends as if
// nothing had happened, also where the template has a new version meanwhile.
func TestARunThatIsCutOffIsMadeOnce(t *testing.T) {
	t.Parallel()
	for dies := 1; ; dies++ {
		r := newRecurring()
		operations := 0
		r.before = func(context.Context, string) error {
			if operations++; operations == dies {
				return fmt.Errorf("died before operation %d", dies)
			}
			return nil
		}
		_, died := r.makeRun(t, ranAt, false)
		r.before = nil
		r.version = 2
		run, err := r.makeRun(t, ranAt, false)
		require.NoError(t, err)
		require.Equal(t, schedule.RunStarted, run.Status)
		require.Len(t, r.notifications, 1)
		require.Len(t, r.runs, 1)
		require.NotEmpty(t, r.started)
		for _, id := range r.started {
			require.Equal(t, run.NotificationID, id)
		}
		if died == nil {
			require.Greater(t, dies, 6)
			return
		}
	}
}

// startedAt is when the period of the schedule is counted from.
var startedAt = ranAt.Add(-time.Hour)

func TestWhyARunIsLeftOut(t *testing.T) {
	t.Parallel()
	before := ranAt.Add(-time.Minute)
	for name, test := range map[string]struct {
		change func(*recurring)
		reason schedule.RunReason
	}{
		"paused":            {func(r *recurring) { r.is.Paused = true }, schedule.ReasonPaused},
		"deleted":           {func(r *recurring) { r.is = nil }, schedule.ReasonDeleted},
		"moved":             {func(r *recurring) { later := ranAt.Add(time.Second); r.is.StartAt = &later }, schedule.ReasonMoved},
		"too late":          {func(r *recurring) { r.now = ranAt.Add(time.Hour + time.Second) }, schedule.ReasonMissed},
		"just in time":      {func(r *recurring) { r.now = ranAt.Add(time.Hour) }, ""},
		"template gone":     {func(r *recurring) { r.version = 0 }, "template_not_found"},
		"the first one":     {func(r *recurring) { r.is.Overlap = schedule.OverlapSkip }, ""},
		"one runs":          {func(r *recurring) { r.is.Overlap = schedule.OverlapSkip; r.ran(before, notify.StatusSending) }, schedule.ReasonOverlap},
		"one has ended":     {func(r *recurring) { r.is.Overlap = schedule.OverlapSkip; r.ran(before, notify.StatusDone) }, ""},
		"one is forgotten":  {func(r *recurring) { r.is.Overlap = schedule.OverlapSkip; r.ran(before, "") }, ""},
		"one runs, and may": {func(r *recurring) { r.ran(before, notify.StatusSending) }, ""},
		"a later one runs":  {func(r *recurring) { r.is.Overlap = schedule.OverlapSkip; r.ran(ranAt.Add(1), notify.StatusSending) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRecurring()
			test.change(r)
			run, err := r.makeRun(t, ranAt, false)
			require.NoError(t, err)
			require.Equal(t, test.reason, run.Reason)
			require.Equal(t, test.reason == "", run.Status == schedule.RunStarted)
			again, err := r.makeRun(t, ranAt, false)
			require.NoError(t, err)
			require.Equal(t, run, again)
			if test.reason == "" || r.is == nil {
				return
			}
			require.Empty(t, r.started)
			// A backfill makes up for it, as soon as that is possible.
			r.version = 1
			made, err := r.makeRun(t, ranAt, true)
			require.NoError(t, err)
			require.Equal(t, schedule.RunStarted, made.Status)
		})
	}
}

// ran has a run with a notification that stands so; empty: it is forgotten.
func (r *recurring) ran(at time.Time, status notify.Status) {
	run := schedule.Started("report", at, at)
	r.runs[run.ID] = *run
	if status != "" {
		r.notifications[run.NotificationID] = notify.Record{Progress: notify.Progress{Status: status}}
	}
}

func TestOfTwoWhoMakeARunOneStoresIt(t *testing.T) {
	t.Parallel()
	r := newRecurring()
	id := schedule.NotificationID("report", ranAt)
	theirs := notify.Record{Notification: notify.Notification{ID: id, Template: &notify.TemplateRef{Name: "welcome", Version: 7}}}
	r.before = func(_ context.Context, operation string) error {
		if operation == "insert notification" {
			r.notifications[id] = theirs
		}
		return nil
	}
	run, err := r.makeRun(t, ranAt, false)
	require.NoError(t, err)
	require.Equal(t, id, run.NotificationID)
	require.Equal(t, 7, r.notifications[id].Template.Version)
}

func TestWhatCannotBeReachedIsTriedAgain(t *testing.T) {
	t.Parallel()
	r := newRecurring()
	r.before = func(_ context.Context, operation string) error {
		if operation == "start" {
			return &notify.Error{Code: notify.CodeUnavailable, Err: errors.New("Temporal is away")}
		}
		return nil
	}
	_, err := r.makeRun(t, ranAt, false)
	require.Error(t, err)
	require.Empty(t, r.runs)
}
