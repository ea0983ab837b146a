package main

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"sandmill/benches/peers/accesslog"
)

const (
	// A chunk is done, counted and passed by commits as one; so are its buffers reused.
	chunkRecords = 1000
	chunkBytes   = 512 << 10
	// How many chunks may wait for the broker to acknowledge their outputs. The client's own bound
	// (maxBuffered) lies above: to run into that one costs a goroutine a record.
	openChunks  = 64
	maxBuffered = 2 * openChunks * chunkRecords
)

// chunk is a span of records and the outputs they became.
type chunk struct {
	lane    *lane
	span    *span
	records int

	json    []byte // the outputs lie here until they are acknowledged
	unacked atomic.Int32
	acked   func(*kgo.Record, error) // made once, for all records of all uses of this chunk
}

// worker does the workload, batch by batch.
type worker struct {
	*run
	json []byte // of a record whose JSON is thrown away
	sum  uint64 // so that no compiler can leave out the reading
}

func (w *worker) loop() { w.lanes.work(w.batch) }

// batch does one batch, cut into chunks. It is false when the run has failed.
func (w *worker) batch(lane *lane, b batch) bool {
	for rest := b.records; len(rest) > 0; {
		length, size := w.cut(rest)
		w.bytes.Add(int64(size)) // First: with the last chunk the run is finished.
		var err error
		if w.output != "" {
			err = w.produce(lane, rest[:length])
		} else {
			err = w.consume(lane, rest[:length])
		}
		if err != nil {
			w.fail(err)
			return false
		}
		rest = rest[length:]
	}
	return w.ctx.Err() == nil
}

// cut gives how many records the next chunk takes, and the bytes of their keys and values.
func (w *worker) cut(records []*kgo.Record) (length, size int) {
	most := chunkRecords
	if w.workload == wait {
		most = 1 // Progress is told once a second, whatever a record takes.
	}
	for length < len(records) && length < most && size < chunkBytes {
		size += len(records[length].Key) + len(records[length].Value)
		length++
	}
	return length, size
}

func (w *worker) consume(lane *lane, records []*kgo.Record) error {
	for _, record := range records {
		switch w.workload {
		case noop:
			w.sum += touch(record.Key) + touch(record.Value)
		case parse:
			var err error
			if w.json, err = accesslog.Append(w.json[:0], record.Value); err != nil {
				return malformed(record, err)
			}
		case wait:
			time.Sleep(w.wait)
		}
	}
	s := &span{next: behind(records)}
	lane.progress.begin(s)
	lane.progress.done(s)
	w.finish(len(records))
	return nil
}

// produce sends each record back with its JSON as value. The record itself is what is sent: the client
// made it, the key stays where it was fetched to, and nothing is allocated but by the client.
func (w *worker) produce(lane *lane, records []*kgo.Record) error {
	c := w.chunk()
	if c == nil {
		return nil // The run has failed; whoever failed it said why.
	}
	c.lane, c.span, c.records = lane, &span{next: behind(records)}, len(records)
	c.unacked.Store(int32(len(records)))
	lane.progress.begin(c.span)
	for _, record := range records {
		start := len(c.json)
		json, err := accesslog.Append(c.json, record.Value)
		if err != nil {
			return malformed(record, err)
		}
		// Where this grew into new memory, earlier outputs keep the old.
		c.json = json
		record.Topic, record.Value, record.Headers = w.output, json[start:len(json):len(json)], nil
		w.client.Produce(w.ctx, record, c.acked)
	}
	return nil
}

// chunk gives one for reuse, or waits for one; it is nil when the run has failed.
func (w *worker) chunk() *chunk {
	select {
	case c := <-w.chunks:
		c.json = c.json[:0]
		return c
	case <-w.ctx.Done():
		return nil
	}
}

// newChunks makes all chunks that a run with outputs uses.
func (r *run) newChunks() {
	r.chunks = make(chan *chunk, openChunks)
	for range openChunks {
		c := &chunk{}
		c.acked = func(record *kgo.Record, err error) {
			if err != nil {
				r.fail(fmt.Errorf("an output of partition %d was not acknowledged: %w", c.lane.partition, err))
				return
			}
			if c.unacked.Add(-1) > 0 {
				return
			}
			records := c.records
			c.lane.progress.done(c.span)
			r.chunks <- c
			r.finish(records)
		}
		r.chunks <- c
	}
}

// touch reads all bytes, eight at a time.
func touch(bytes []byte) (sum uint64) {
	for ; len(bytes) >= 8; bytes = bytes[8:] {
		sum += binary.LittleEndian.Uint64(bytes)
	}
	for _, last := range bytes {
		sum += uint64(last)
	}
	return sum
}

func behind(records []*kgo.Record) kgo.EpochOffset {
	last := records[len(records)-1]
	return kgo.EpochOffset{Epoch: last.LeaderEpoch, Offset: last.Offset + 1}
}

func malformed(record *kgo.Record, err error) error {
	return fmt.Errorf("partition %d, offset %d is no line of an access log: %w", record.Partition, record.Offset, err)
}
