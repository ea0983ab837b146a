// Franz is a plain consumer, written by hand with franz-go: what Sandmill is measured against.
//
// It reads one topic from its beginning to its end, does one workload and commits. Order is kept within a
// partition: one worker at a time works on it. The parts, in the way of a record:
//
//	reader.go   polls the client, and hands each partition's records to lanes
//	lanes.go    gives a partition that has records to the next free worker
//	work.go     does the workload, produces
//	commits.go  commits what is done, and what the broker has acknowledged
//
// On stdout stand JSON objects, one a line: first, progress once a second, done. Then the program waits for
// the end of stdin, so that its parent can read its CPU time, and ends. It ends with 1 on an error, with 2
// on options that it does not know.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"sandmill/benches/peers/accesslog"
)

func main() {
	options, err := readOptions(os.Args[1:], os.Stderr)
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "franz:", err)
		}
		os.Exit(2)
	}
	if options.selfcheck != "" {
		err = selfcheck(options.selfcheck, os.Stdout)
	} else {
		err = contend(options, os.Stdout, os.Stdin)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "franz:", err)
		os.Exit(1)
	}
}

// selfcheck writes the JSON of each line of a file.
func selfcheck(file string, to io.Writer) error {
	lines, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(to)
	var json []byte
	number := 0
	for line := range bytes.Lines(lines) {
		number++
		if json, err = accesslog.Append(json[:0], line); err != nil {
			return fmt.Errorf("%s, line %d: %w", file, number, err)
		}
		out.Write(append(json, '\n'))
	}
	return out.Flush()
}
