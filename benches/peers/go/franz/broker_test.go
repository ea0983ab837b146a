package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"sandmill/benches/peers/accesslog"
)

// A broker for the tests that need one, as HOST:PORT; without it they are skipped.
const brokersVariable = "PEERS_BROKERS"

// Set for a child of these tests, which is then the program itself.
const asProgram = "FRANZ_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// franz runs the program to its end and gives its exit code and what it wrote.
func franz(t *testing.T, arguments ...string) (code int, stdout, stderr string) {
	t.Helper()
	command := exec.Command(os.Args[0], arguments...)
	command.Env = append(os.Environ(), asProgram+"=1")
	var out, errors bytes.Buffer
	command.Stdout, command.Stderr = &out, &errors
	if err := command.Run(); err != nil && command.ProcessState == nil {
		t.Fatal(err)
	}
	return command.ProcessState.ExitCode(), out.String(), errors.String()
}

// broker is a real one, with topics of a test.
type broker struct {
	*testing.T
	address string
	client  *kgo.Client
	admin   *kadm.Client
}

func realBroker(t *testing.T) *broker {
	address := os.Getenv(brokersVariable)
	if address == "" {
		t.Skipf("%s names no broker", brokersVariable)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &broker{t, address, client, kadm.NewClient(client)}
}

// topic makes a topic that is gone after the test.
func (b *broker) topic(partitions int32) string {
	b.Helper()
	name := fmt.Sprintf("%s-%d", strings.ToLower(b.Name()), time.Now().UnixNano())
	if _, err := b.admin.CreateTopic(b.Context(), partitions, 1, nil, name); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { b.admin.DeleteTopics(context.Background(), name) })
	return name
}

// fill writes records lines of the real log, with the client's address as key.
func (b *broker) fill(topic string, records int) {
	b.Helper()
	file, err := os.Open("../../../../host/assets/apache_access.log.gz")
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		b.Fatal(err)
	}
	log, err := io.ReadAll(unzipped)
	if err != nil {
		b.Fatal(err)
	}
	lines := slices.Collect(bytes.Lines(log))
	begin := time.UnixMilli(1_700_000_000_000)
	for number := range records {
		line := bytes.TrimSuffix(lines[number%len(lines)], []byte{'\n'})
		key, _, _ := bytes.Cut(line, []byte{' '})
		// Each line is told from its repetitions by its time.
		time := begin.Add(time.Duration(number) * time.Millisecond)
		record := &kgo.Record{Topic: topic, Key: key, Value: line, Timestamp: time}
		b.client.Produce(b.Context(), record, func(_ *kgo.Record, err error) {
			if err != nil {
				b.Error(err)
			}
		})
	}
	if err := b.client.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// ends gives the next offset of each partition.
func (b *broker) ends(topic string) map[int32]int64 {
	b.Helper()
	listed, err := b.admin.ListEndOffsets(b.Context(), topic)
	if err != nil {
		b.Fatal(err)
	}
	ends := map[int32]int64{}
	listed.Each(func(offset kadm.ListedOffset) { ends[offset.Partition] = offset.Offset })
	return ends
}

// read gives what stands in a topic, by key, in order.
func (b *broker) read(topic string) map[string][]*kgo.Record {
	b.Helper()
	reader, err := kgo.NewClient(kgo.SeedBrokers(b.address), kgo.ConsumeTopics(topic))
	if err != nil {
		b.Fatal(err)
	}
	defer reader.Close()
	missing := int64(0)
	for _, end := range b.ends(topic) {
		missing += end
	}
	byKey := map[string][]*kgo.Record{}
	for missing > 0 {
		fetches := reader.PollFetches(b.Context())
		if err := fetches.Err(); err != nil {
			b.Fatal(err)
		}
		fetches.EachRecord(func(record *kgo.Record) {
			byKey[string(record.Key)] = append(byKey[string(record.Key)], record)
			missing--
		})
	}
	return byKey
}

// done is what the program says at its end.
type done struct {
	Event   string
	UnixUs  int64 `json:"unix_us"`
	Records int64
	Bytes   int64
	Where   map[int32]int64
}

// run runs the program over a topic, checks what it says and what it committed, and gives the records per
// second.
func (b *broker) run(topic string, records int, more ...string) {
	b.Helper()
	group := fmt.Sprintf("group-%d", time.Now().UnixNano())
	arguments := append([]string{"--brokers", b.address, "--topic", topic, "--group", group,
		"--records", fmt.Sprint(records)}, more...)
	code, stdout, stderr := franz(b.T, arguments...)
	if code != 0 {
		b.Fatalf("%q ends with %d: %s", arguments, code, stderr)
	}
	var said []done
	for lines := bufio.NewScanner(strings.NewReader(stdout)); lines.Scan(); {
		var event done
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			b.Fatalf("%q: %v", lines.Text(), err)
		}
		said = append(said, event)
	}
	first, last := said[0], said[len(said)-1]
	if first.Event != "first" || last.Event != "done" || last.UnixUs <= first.UnixUs {
		b.Fatalf("it says %s", stdout)
	}
	for _, event := range said[1 : len(said)-1] {
		if event.Event != "progress" {
			b.Errorf("between first and done it says %v", event)
		}
	}
	ends := b.ends(topic)
	if last.Records != int64(records) || !maps.Equal(last.Where, ends) {
		b.Errorf("done with %d of %d records, at %v of %v", last.Records, records, last.Where, ends)
	}
	held, err := b.admin.FetchOffsets(b.Context(), group)
	if err != nil {
		b.Fatal(err)
	}
	for partition, end := range ends {
		if is, known := held.Lookup(topic, partition); end > 0 && (!known || is.At != end) {
			b.Errorf("partition %d is committed up to %v of %d", partition, is.At, end)
		}
	}
	bytes := int64(0)
	for _, records := range b.read(topic) {
		for _, record := range records {
			bytes += int64(len(record.Key) + len(record.Value))
		}
	}
	if last.Bytes != bytes {
		b.Errorf("it counts %d bytes of %d", last.Bytes, bytes)
	}
	b.Logf("%q: %.0f records/s", more, float64(records)/float64(last.UnixUs-first.UnixUs)*1e6)
}

func TestAllWorkloadsReadAndCommitAll(t *testing.T) {
	b := realBroker(t)
	topic := b.topic(8)
	const records = 30_000
	b.fill(topic, records)
	b.run(topic, records, "--workload", "noop")
	b.run(topic, records, "--workload", "parse", "--ordering", "partition", "--workers", "3")
	b.run(topic, records, "--workload", "wait", "--wait-ms", "0.01", "--workers", "8")
}

func TestOutputsAreTheJSONOfTheInputsInOrder(t *testing.T) {
	b := realBroker(t)
	in, out := b.topic(8), b.topic(5)
	const records = 50_000
	b.fill(in, records)
	b.run(in, records, "--workload", "parse", "--output", out)
	inputs, outputs := b.read(in), b.read(out)
	if len(inputs) != len(outputs) {
		t.Errorf("%d keys went in, %d came out", len(inputs), len(outputs))
	}
	for key, inputs := range inputs {
		outputs := outputs[key]
		if len(outputs) != len(inputs) {
			t.Errorf("%s: %d records went in, %d came out", key, len(inputs), len(outputs))
			continue
		}
		for at, input := range inputs {
			output := outputs[at]
			want, err := accesslog.Append(nil, input.Value)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(output.Value, want) || !output.Timestamp.Equal(input.Timestamp) ||
				output.Attrs.CompressionType() != 0 {
				t.Fatalf("record %d of %s is %v %s, not %v %s",
					at, key, output.Timestamp, output.Value, input.Timestamp, want)
			}
		}
	}
}

func TestLineThatIsNoneEndsTheRunAndIsNamed(t *testing.T) {
	b := realBroker(t)
	in, out := b.topic(1), b.topic(1)
	b.fill(in, 10)
	bad := &kgo.Record{Topic: in, Key: []byte("k"), Value: []byte("no line")}
	if err := b.client.ProduceSync(t.Context(), bad).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for _, more := range [][]string{nil, {"--output", out}} {
		arguments := append([]string{"--brokers", b.address, "--topic", in, "--group", in + fmt.Sprint(len(more)),
			"--records", "11", "--workload", "parse"}, more...)
		code, stdout, stderr := franz(t, arguments...)
		if code != 1 || !strings.Contains(stderr, "partition 0, offset 10") || strings.Contains(stdout, "done") {
			t.Errorf("%q ends with %d and says %s%s", arguments, code, stdout, stderr)
		}
	}
}

func TestErrorsOfTheBrokerEndTheRun(t *testing.T) {
	b := realBroker(t)
	topic := b.topic(1)
	b.fill(topic, 1)
	for _, c := range []struct{ topic, output, want string }{
		{"is-not-there", topic, "topic is-not-there: UNKNOWN_TOPIC_OR_PARTITION"},
		{topic, "is-not-there", "topic is-not-there: UNKNOWN_TOPIC_OR_PARTITION"},
	} {
		code, _, stderr := franz(t, "--brokers", b.address, "--topic", c.topic, "--group", "g", "--records", "1",
			"--workload", "parse", "--output", c.output)
		if code != 1 || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: it ends with %d and says %s", c, code, stderr)
		}
	}
}
