package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	fetchPartition = 4 << 20
	fetchAll       = 16 << 20
	// Polls that workers may have at once. With the fetch that the client holds and these, no more than
	// 48 MB of fetched bytes lie in memory.
	polls = 2
	// A run in which nothing is finished for so long is broken.
	stalledAfter = 30 * time.Second
)

// errFinished ends a run that has done all records.
var errFinished = errors.New("finished")

// run is one run of the program: what its workers share.
type run struct {
	*options
	client *kgo.Client
	lanes  *lanes
	chunks chan *chunk // that nobody uses

	ctx  context.Context // ends when all is done, and at the first failure
	fail context.CancelCauseFunc

	finished, bytes atomic.Int64
}

// finish counts records whose processing is finished.
func (r *run) finish(records int) {
	if r.finished.Add(int64(records)) >= r.records {
		r.fail(errFinished)
	}
}

// contend reads the topic to its end, commits, and tells so on stdout; then it waits for the end of stdin.
func contend(o *options, stdout io.Writer, stdin io.Reader) error {
	ctx, fail := context.WithCancelCause(context.Background())
	defer fail(nil)
	client, err := kgo.NewClient(settings(o, fail)...)
	if err != nil {
		return err
	}
	defer client.CloseAllowingRebalance()
	partitions, err := partitionsOf(ctx, client, o.topic, o.output)
	if err != nil {
		return err
	}
	r := &run{options: o, client: client, lanes: newLanes(partitions), ctx: ctx, fail: fail}
	if o.output != "" {
		r.newChunks()
	}
	tell := newTeller(stdout)
	commits := &committer{client, o.topic, o.group, r.lanes, map[int32]int64{}}
	if err := r.work(tell, commits); err != nil {
		return err
	}

	if err := commits.commit(context.Background()); err != nil {
		return err
	}
	end := time.Now()
	if err := commits.verify(context.Background()); err != nil {
		return err
	}
	where := map[int32]int64{}
	for at := range r.lanes.all {
		where[int32(at)] = r.lanes.all[at].progress.safe().Offset
	}
	tell.done(end, r.finished.Load(), r.bytes.Load(), where, map[string]any{
		"client":     clientVersion(),
		"go":         runtime.Version(),
		"gomaxprocs": runtime.GOMAXPROCS(0),
		"workers":    o.workers,
	})
	_, err = io.Copy(io.Discard, stdin)
	return err
}

// settings are those of the client. fail is called when it loses a partition, which should never happen:
// nobody else is in the group.
func settings(o *options, fail context.CancelCauseFunc) []kgo.Opt {
	failing := func(why string) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			if len(partitions) > 0 {
				fail(fmt.Errorf("%s: %v", why, partitions))
			}
		}
	}
	return []kgo.Opt{
		kgo.SeedBrokers(o.brokers),
		kgo.WithLogger(kgo.BasicLogger(os.Stderr, kgo.LogLevelWarn, nil)),

		kgo.ConsumerGroup(o.group),
		kgo.ConsumeTopics(o.topic),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.OnPartitionsRevoked(failing("the group took partitions away; is its name not fresh?")),
		kgo.OnPartitionsLost(failing("the broker does not answer the group, its partitions are lost")),
		kgo.FetchMaxWait(100 * time.Millisecond),
		kgo.FetchMaxPartitionBytes(fetchPartition),
		kgo.FetchMaxBytes(fetchAll),

		// The producer is idempotent by default.
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(5 * time.Millisecond),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(maxBuffered),
	}
}

// partitionsOf gives the number of partitions of topic. It fails if a topic is missing, or the broker.
func partitionsOf(ctx context.Context, client *kgo.Client, topic, output string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, requestWithin)
	defer cancel()
	names := []string{topic}
	if output != "" {
		names = append(names, output)
	}
	topics, err := kadm.NewClient(client).ListTopics(ctx, names...)
	if err != nil {
		return 0, fmt.Errorf("the broker does not list its topics: %w", err)
	}
	for _, name := range names {
		if err := topics[name].Err; err != nil {
			return 0, fmt.Errorf("topic %s: %w", name, err)
		}
	}
	return len(topics[topic].Partitions), nil
}

// work reads and works until all records are finished, or something fails.
func (r *run) work(tell *teller, commits *committer) error {
	var all sync.WaitGroup
	for range r.workers {
		go (&worker{run: r}).loop()
	}
	all.Go(func() { commits.run(r.ctx, r.fail) })
	all.Go(func() { r.watch(tell) })
	r.read(tell)
	all.Wait()
	if cause := context.Cause(r.ctx); !errors.Is(cause, errFinished) {
		return cause
	}
	return nil
}

// read polls, and hands what comes to the lanes, until the run's context ends.
func (r *run) read(tell *teller) {
	permits := make(chan struct{}, polls)
	for range polls {
		permits <- struct{}{}
	}
	for first := true; ; {
		select {
		case <-permits:
		case <-r.ctx.Done():
			return
		}
		// All that was fetched, at once: the client fetches on when nothing of that is left with it.
		fetches := r.client.PollFetches(r.ctx)
		if r.ctx.Err() != nil {
			return
		}
		for _, failed := range fetches.Errors() {
			r.fail(fmt.Errorf("cannot read partition %d of %s: %w", failed.Partition, failed.Topic, failed.Err))
			return
		}
		if fetches.Empty() {
			permits <- struct{}{}
			continue
		}
		if first {
			tell.first(time.Now())
			first = false
		}
		p := &poll{permits: permits}
		p.partitions.Store(1) // One for this loop, so that no worker is last before all are handed over.
		fetches.EachPartition(func(f kgo.FetchTopicPartition) {
			if len(f.Records) > 0 {
				p.partitions.Add(1)
				r.lanes.add(f.Partition, batch{f.Records, p})
			}
		})
		p.partitionDone()
	}
}

// watch tells the progress once a second, and fails the run when there is none for long.
func (r *run) watch(tell *teller) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last, since := int64(0), time.Now()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-tick.C:
		}
		finished := r.finished.Load()
		tell.progress(finished)
		if finished > last {
			last, since = finished, time.Now()
		} else if time.Since(since) > stalledAfter {
			r.fail(fmt.Errorf("nothing was finished for %v: %d of %d records are, up to %s",
				stalledAfter, finished, r.records, r.lanes))
			return
		}
	}
}
