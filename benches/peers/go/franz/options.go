package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"time"
)

// workload is what is done with each record.
type workload string

const (
	noop  workload = "noop"  // its bytes are read
	parse workload = "parse" // an access-log line becomes JSON
	wait  workload = "wait"  // the worker sleeps
)

type options struct {
	brokers, topic, group string
	records               int64 // what stands in the topic, in all
	workload              workload
	output                string        // topic for the JSON; empty: it is built and thrown away
	wait                  time.Duration // of each record
	workers               int
	selfcheck             string // file of lines; no broker
}

// readOptions says what was asked for. The error names the option that is wrong; usage goes to out.
func readOptions(arguments []string, out io.Writer) (*options, error) {
	var o options
	var work, ordering string
	var waitMillis float64
	flags := flag.NewFlagSet("franz", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&o.brokers, "brokers", "", "`HOST:PORT` of a broker")
	flags.StringVar(&o.topic, "topic", "", "topic to read from its beginning")
	flags.StringVar(&o.group, "group", "", "consumer group, a fresh one")
	flags.Int64Var(&o.records, "records", 0, "what stands in the topic, in all")
	flags.StringVar(&work, "workload", "", "noop, parse or wait")
	flags.StringVar(&o.output, "output", "", "parse: `topic` to write the JSON to")
	flags.Float64Var(&waitMillis, "wait-ms", 0, "wait: milliseconds for each record")
	flags.StringVar(&ordering, "ordering", "partition", "partition, the only one")
	flags.IntVar(&o.workers, "workers", 2, "how many goroutines work on records")
	flags.StringVar(&o.selfcheck, "selfcheck", "", "print the JSON of the lines of this `file`, and end")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	o.workload = workload(work)
	o.wait = time.Duration(waitMillis * float64(time.Millisecond))
	switch {
	case flags.NArg() > 0:
		return nil, fmt.Errorf("%q is no option", flags.Arg(0))
	case o.selfcheck != "":
		return &o, nil
	case o.brokers == "" || o.topic == "" || o.group == "":
		return nil, errors.New("--brokers, --topic and --group are needed")
	case o.records < 1:
		return nil, errors.New("--records should be at least 1")
	case o.workload != noop && o.workload != parse && o.workload != wait:
		return nil, fmt.Errorf("--workload is %q, not noop, parse or wait", work)
	case ordering != "partition":
		return nil, fmt.Errorf("--ordering is %q; this program works partition by partition", ordering)
	case o.output != "" && o.workload != parse:
		return nil, fmt.Errorf("--output goes with the workload parse, not %s", o.workload)
	case (o.wait > 0) != (o.workload == wait):
		return nil, errors.New("--wait-ms above 0 and the workload wait go together")
	case o.workers < 1:
		return nil, errors.New("--workers should be at least 1")
	}
	return &o, nil
}
