package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var needed = []string{"--brokers", "h:1", "--topic", "t", "--group", "g", "--records", "5"}

func TestOptionsAreTaken(t *testing.T) {
	o, err := readOptions(append(slices.Clone(needed), "--workload", "wait", "--wait-ms", "1.5", "--workers", "3"), io.Discard)
	want := options{brokers: "h:1", topic: "t", group: "g", records: 5, workload: wait, wait: 1500 * time.Microsecond, workers: 3}
	if err != nil || *o != want {
		t.Errorf("%+v, %v", o, err)
	}
	o, err = readOptions(append(slices.Clone(needed), "--workload", "parse", "--output", "o", "--ordering", "partition"), io.Discard)
	if err != nil || o.output != "o" || o.workers != 2 {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestWrongOptionsEndWith2(t *testing.T) {
	for _, c := range []struct{ options, says string }{
		{"--workload noop --linger 5", "-linger"},
		{"--workload noop more", `"more" is no option`},
		{"--workload cpu", `"cpu"`},
		{"", "--workload"},
		{"--workload noop --ordering key", `"key"`},
		{"--workload noop --output o", "--output"},
		{"--workload wait", "--wait-ms"},
		{"--workload noop --wait-ms 1", "--wait-ms"},
		{"--workload noop --workers 0", "--workers"},
		{"--workload noop --records 0", "--records"},
		{"--workload noop --group=", "--group"},
	} {
		code, stdout, stderr := franz(t, append(slices.Clone(needed), strings.Fields(c.options)...)...)
		if code != 2 || stdout != "" || !strings.Contains(stderr, c.says) {
			t.Errorf("%s: it ends with %d and says %q", c.options, code, stderr)
		}
	}
}

func TestBrokerThatIsNotThereEndsTheRun(t *testing.T) {
	arguments := append(slices.Clone(needed), "--workload", "noop", "--brokers", "127.0.0.1:1")
	if code, _, stderr := franz(t, arguments...); code != 1 || !strings.Contains(stderr, "refused") {
		t.Errorf("it ends with %d and says %s", code, stderr)
	}
}

func TestSelfcheckWritesALineForALine(t *testing.T) {
	const line = `h - - [01/Jan/2000:00:00:00 +0000] "GET / HTTP/1.0" 200 7 "-" "x"`
	const json = `{"client":"h","ident":null,"user":null,"time":"2000-01-01T00:00:00Z","method":"GET","path":"/",` +
		`"protocol":"HTTP/1.0","status":200,"bytes":7,"referer":null,"agent":"x"}` + "\n"
	file := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(file, []byte(line+"\n"+line), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := franz(t, "--selfcheck", file); code != 0 || stdout != json+json {
		t.Errorf("it ends with %d and says %s%s", code, stdout, stderr)
	}
	if err := os.WriteFile(file, []byte(line+"\nno line"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := franz(t, "--selfcheck", file); code != 1 || !strings.Contains(stderr, "line 2") {
		t.Errorf("it ends with %d and says %s", code, stderr)
	}
}

func TestCommitNeverPassesAnOpenSpan(t *testing.T) {
	var p progress
	var spans []*span
	for end := int64(10); end <= 50; end += 10 {
		s := &span{next: kgo.EpochOffset{Offset: end}}
		p.begin(s)
		spans = append(spans, s)
	}
	for _, step := range []struct {
		done int
		safe int64
	}{{2, 0}, {1, 0}, {0, 30}, {4, 30}, {3, 50}} {
		p.done(spans[step.done])
		if is := p.safe().Offset; is != step.safe {
			t.Errorf("with span %d done, %d is safe, not %d", step.done, is, step.safe)
		}
	}
	if len(p.open) != 0 {
		t.Errorf("%d spans stay open", len(p.open))
	}
}

func TestLaneIsWithOneWorkerAtATimeAndInOrder(t *testing.T) {
	const partitions, batches, workers = 3, 2000, 4
	l := newLanes(partitions)
	var all sync.WaitGroup
	all.Add(partitions * batches)
	seen := make([]int64, partitions) // The race detector sees it if two workers have one lane.
	for range workers {
		go l.work(func(lane *lane, b batch) bool {
			if b.records[0].Offset != seen[lane.partition] {
				t.Errorf("partition %d: %d comes after %d", lane.partition, b.records[0].Offset, seen[lane.partition])
			}
			seen[lane.partition]++
			all.Done()
			return true
		})
	}
	permits := make(chan struct{}, batches)
	for offset := range int64(batches) {
		p := &poll{permits: permits}
		p.partitions.Store(partitions)
		for partition := range int32(partitions) {
			l.add(partition, batch{[]*kgo.Record{{Offset: offset}}, p})
		}
	}
	all.Wait()
	for range batches {
		<-permits // Each poll's permit comes back.
	}
}

func TestChunkEndsByRecordsAndByBytes(t *testing.T) {
	small := slices.Repeat([]*kgo.Record{{Key: []byte("k"), Value: []byte("four")}}, 3*chunkRecords)
	large := slices.Repeat([]*kgo.Record{{Value: make([]byte, chunkBytes/2)}}, 10)
	for _, c := range []struct {
		work         workload
		records      []*kgo.Record
		length, size int
	}{
		{noop, small, chunkRecords, 5 * chunkRecords},
		{noop, small[:7], 7, 35},
		{noop, large, 2, chunkBytes},
		{wait, small, 1, 5},
	} {
		w := worker{run: &run{options: &options{workload: c.work}}}
		if length, size := w.cut(c.records); length != c.length || size != c.size {
			t.Errorf("%s: a chunk of %d records and %d bytes, not %d and %d", c.work, length, size, c.length, c.size)
		}
	}
}

func TestEveryByteIsRead(t *testing.T) {
	text := make([]byte, 21)
	for at := range text {
		before := touch(text)
		text[at] = 1
		if touch(text) == before {
			t.Errorf("byte %d is not read", at)
		}
	}
}
