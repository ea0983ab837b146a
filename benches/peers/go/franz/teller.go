package main

import (
	"encoding/json"
	"io"
	"runtime/debug"
	"sync"
	"time"
)

// teller writes what happens, one JSON object a line.
type teller struct {
	mu sync.Mutex
	to *json.Encoder
}

func newTeller(to io.Writer) *teller { return &teller{to: json.NewEncoder(to)} }

// say is called seldom. A parent that does not listen any more is no reason to stop: it will end this
// program by itself.
func (t *teller) say(event any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.to.Encode(event)
}

func (t *teller) first(at time.Time) {
	t.say(struct {
		Event  string `json:"event"`
		UnixUs int64  `json:"unix_us"`
	}{"first", at.UnixMicro()})
}

func (t *teller) progress(records int64) {
	t.say(struct {
		Event   string `json:"event"`
		Records int64  `json:"records"`
	}{"progress", records})
}

func (t *teller) done(at time.Time, records, bytes int64, where map[int32]int64, details map[string]any) {
	t.say(struct {
		Event   string          `json:"event"`
		UnixUs  int64           `json:"unix_us"`
		Records int64           `json:"records"`
		Bytes   int64           `json:"bytes"`
		Where   map[int32]int64 `json:"where"`
		Details map[string]any  `json:"details"`
	}{"done", at.UnixMicro(), records, bytes, where, details})
}

// clientVersion gives the franz-go that was built in.
func clientVersion() string {
	const module = "github.com/twmb/franz-go"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dependency := range info.Deps {
			if dependency.Path == module {
				return "franz-go " + dependency.Version
			}
		}
	}
	return "franz-go"
}
