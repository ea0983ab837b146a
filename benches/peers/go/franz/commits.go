package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const commitEvery = 500 * time.Millisecond

// requestWithin bounds a request on which the whole run waits.
const requestWithin = 20 * time.Second

// span is a run of records of one partition.
type span struct {
	next kgo.EpochOffset // behind its last record
	done bool            // guarded by the partition's progress
}

// progress is how far one partition is done. Spans begin in the order of the partition and are done in any
// order: their outputs go to many partitions. What may be committed never passes a span that is open.
type progress struct {
	mu   sync.Mutex
	open []*span // begun and not yet passed, oldest first
	next kgo.EpochOffset
}

func (p *progress) begin(s *span) {
	p.mu.Lock()
	p.open = append(p.open, s)
	p.mu.Unlock()
}

func (p *progress) done(s *span) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.done = true
	passed := 0
	for passed < len(p.open) && p.open[passed].done {
		p.next = p.open[passed].next
		passed++
	}
	p.open = append(p.open[:0], p.open[passed:]...)
}

// safe gives the offset behind all that is done; it is 0 before that.
func (p *progress) safe() kgo.EpochOffset {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next
}

// committer commits what is safe.
type committer struct {
	client       *kgo.Client
	topic, group string
	lanes        *lanes
	committed    map[int32]int64 // next offset of a partition, as the broker acknowledged it
}

// run commits every now and then until the context ends.
func (c *committer) run(ctx context.Context, fail func(error)) {
	tick := time.NewTicker(commitEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := c.commit(ctx); err != nil && ctx.Err() == nil {
				fail(err)
				return
			}
		}
	}
}

// commit commits what is safe and not yet committed, and waits for the broker's answer.
func (c *committer) commit(ctx context.Context) error {
	offsets := map[int32]kgo.EpochOffset{}
	for at := range c.lanes.all {
		lane := &c.lanes.all[at]
		if next := lane.progress.safe(); next.Offset > c.committed[lane.partition] {
			offsets[lane.partition] = next
		}
	}
	if len(offsets) == 0 {
		return nil
	}
	var failed error
	answered := func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			failed = fmt.Errorf("cannot commit: %w", err)
			return
		}
		for _, topic := range answer.Topics {
			for _, partition := range topic.Partitions {
				if err := kerr.ErrorForCode(partition.ErrorCode); err != nil {
					failed = fmt.Errorf("cannot commit partition %d: %w", partition.Partition, err)
					return
				}
				c.committed[partition.Partition] = offsets[partition.Partition].Offset
			}
		}
	}
	c.client.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{c.topic: offsets}, answered)
	return failed
}

// verify asks the broker whether it has what was committed.
func (c *committer) verify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestWithin)
	defer cancel()
	held, err := kadm.NewClient(c.client).FetchOffsets(ctx, c.group)
	if err != nil {
		return fmt.Errorf("cannot read the commits of group %s: %w", c.group, err)
	}
	for partition, offset := range c.committed {
		if is, known := held.Lookup(c.topic, partition); !known || is.Err != nil || is.At != offset {
			return fmt.Errorf("partition %d was committed up to %d, but the broker holds %d (%v)",
				partition, offset, is.At, is.Err)
		}
	}
	return nil
}
