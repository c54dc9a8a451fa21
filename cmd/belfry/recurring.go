package main

import (
	"time"

	"github.com/belfry-notify/belfry/activities"
	"github.com/belfry-notify/belfry/internal/codec"
	"github.com/belfry-notify/belfry/internal/intake"
	"github.com/belfry-notify/belfry/worker"
	"github.com/belfry-notify/belfry/workflows"
)

// now is the moment as Belfry keeps it: UTC, in milliseconds.
func now() time.Time { return intake.Moment(time.Now()) }

// schedules keeps those of Temporal as they are stored.
func (b *belfry) schedules() *workflows.Schedules {
	return workflows.NewSchedules(b.temporal, codec.DataConverter(b.cfg.Codec.Keys), b.store, now)
}

// runs makes those of the schedules.
func (b *belfry) runs() *activities.Runs {
	starter := workflows.NewStarter(b.temporal, b.namespace, b.works.Load)
	return &activities.Runs{
		Store:  b.store,
		Intake: &intake.Intake{Store: b.store, Starter: starter, DirectLimit: b.cfg.DirectLimit},
		Start:  starter.Start,
		Log:    b.log,
		Now:    now,
	}
}

func (b *belfry) scheduleSweep() *worker.ScheduleSweep {
	return &worker.ScheduleSweep{
		Temporal: b.temporal,
		Store:    b.store,
		Ensure:   b.schedules().Ensure,
		Log:      b.log,
		Now:      now,
		Every:    b.cfg.SweepInterval,
		Closely:  b.cfg.Codec.Keys.Encrypt(),
	}
}
