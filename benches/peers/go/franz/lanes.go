package main

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

// poll is what one poll gave: its permit returns when the last partition of it is worked on.
type poll struct {
	partitions atomic.Int32
	permits    chan struct{}
}

func (p *poll) partitionDone() {
	if p.partitions.Add(-1) == 0 {
		p.permits <- struct{}{}
	}
}

// batch is what one poll gave of one partition.
type batch struct {
	records []*kgo.Record
	poll    *poll
}

// lane is one partition: batches that wait, in order. It is with one worker at a time, or in the queue of
// lanes, or empty.
type lane struct {
	partition int32
	progress  progress

	mu      sync.Mutex
	waiting []batch
	held    bool // in the queue, or with a worker
}

// lanes gives each lane that has batches to the next free worker.
type lanes struct {
	all   []lane
	ready chan *lane // has room for all, so that nobody ever waits to put one in
}

func newLanes(partitions int) *lanes {
	l := &lanes{all: make([]lane, partitions), ready: make(chan *lane, partitions)}
	for partition := range l.all {
		l.all[partition].partition = int32(partition)
	}
	return l
}

// add puts a batch behind those that wait in its partition's lane.
func (l *lanes) add(partition int32, b batch) {
	lane := &l.all[partition]
	lane.mu.Lock()
	lane.waiting = append(lane.waiting, b)
	idle := !lane.held
	lane.held = true
	lane.mu.Unlock()
	if idle {
		l.ready <- lane
	}
}

// String says how far each partition is done.
func (l *lanes) String() string {
	where := make(map[int32]int64, len(l.all))
	for at := range l.all {
		where[int32(at)] = l.all[at].progress.safe().Offset
	}
	return fmt.Sprint(where)
}

// work does batches, one of a lane and then one of the next, for ever or until do says false.
func (l *lanes) work(do func(*lane, batch) bool) {
	for lane := range l.ready {
		lane.mu.Lock()
		b := lane.waiting[0]
		lane.waiting = append(lane.waiting[:0], lane.waiting[1:]...)
		lane.mu.Unlock()
		if !do(lane, b) {
			return
		}
		b.poll.partitionDone()
		lane.mu.Lock()
		lane.held = len(lane.waiting) > 0
		more := lane.held
		lane.mu.Unlock()
		if more {
			l.ready <- lane
		}
	}
}
