// Package accesslog turns one line of a web server's access log, combined format, into JSON.
//
// It writes byte for byte what the handler in examples-wasm/access-log writes, and refuses what that
// refuses, with the same reason. The fields of the JSON stand in the order of the line, so one walk over
// the line reads and writes: nothing is kept, nothing is allocated.
package accesslog

import (
	"bytes"
	"fmt"
)

// Malformed says why a line is none: the field that is wrong, the byte at which that shows, and what was
// expected there.
type Malformed struct {
	Field   string
	At      int
	Problem string
}

func (m *Malformed) Error() string {
	return fmt.Sprintf("%s at byte %d: %s", m.Field, m.At, m.Problem)
}

// Append reads line and appends its JSON to out. One line break at the end of the line is no part of it.
// If the line is malformed, the error is a *Malformed and out comes back as it was.
func Append(out, line []byte) ([]byte, error) {
	line = bytes.TrimSuffix(line, []byte{'\n'})
	line = bytes.TrimSuffix(line, []byte{'\r'})
	w := walk{line: line, out: out}
	if !w.client() || !w.ident() || !w.user() || !w.time() || !w.request() || !w.status() ||
		!w.bytes() || !w.referer() || !w.agent() {
		wrong := w.wrong
		return out, &wrong
	}
	return append(w.out, '}'), nil
}

// walk is the way over one line: what is left of it, and what was written. A step is false when it stops
// the walk; wrong then says why.
type walk struct {
	line  []byte
	at    int
	out   []byte
	wrong Malformed
}

func (w *walk) stop(field string, at int, problem string) bool {
	w.wrong = Malformed{field, at, problem}
	return false
}

func (w *walk) client() bool {
	start := w.at
	if !w.word("client") {
		return false
	}
	w.out = append(w.out, `{"client":`...)
	w.out = appendText(w.out, w.line[start:w.at-1])
	return true
}

func (w *walk) ident() bool {
	start := w.at
	if !w.word("ident") {
		return false
	}
	w.out = append(w.out, `,"ident":`...)
	w.out = appendUnlessDash(w.out, w.line[start:w.at-1])
	return true
}

// user is whatever was typed into a browser's dialog, spaces and all: it ends where ` [` and a digit begin
// the time.
func (w *walk) user() bool {
	start := w.at
	if !w.word("user") {
		return false
	}
	for !w.timeBegins() {
		length := bytes.IndexByte(w.line[w.at:], ' ')
		if length < 0 {
			return w.stop("time", w.at, "should begin with `[` and a digit")
		}
		w.at += length + 1
	}
	w.out = append(w.out, `,"user":`...)
	w.out = appendUnlessDash(w.out, w.line[start:w.at-1])
	return true
}

func (w *walk) timeBegins() bool {
	return w.at+1 < len(w.line) && w.line[w.at] == '[' && isDigit(w.line[w.at+1])
}

// request is a method, a path and a protocol; one that is not is all path.
func (w *walk) request() bool {
	start := w.at + 1
	end, plain, ok := w.quoted("request")
	if !ok || !w.expect(' ', "request", "a space should follow") {
		return false
	}
	text := w.line[start:end]
	first, last := bytes.IndexByte(text, ' '), bytes.LastIndexByte(text, ' ')
	if first == last || !bytes.HasPrefix(text[last+1:], []byte("HTTP/")) {
		w.out = append(w.out, `,"method":null,"path":`...)
		w.out = appendUnlessDash(w.out, text)
		w.out = append(w.out, `,"protocol":null`...)
		return true
	}
	method, path, protocol := text[:first], text[first+1:last], text[last+1:]
	if plain { // So are its parts: no second look at their bytes.
		w.out = append(w.out, `,"method":"`...)
		w.out = append(w.out, method...)
		w.out = append(w.out, `","path":"`...)
		w.out = append(w.out, path...)
		w.out = append(w.out, `","protocol":"`...)
		w.out = append(w.out, protocol...)
		w.out = append(w.out, '"')
		return true
	}
	w.out = append(w.out, `,"method":`...)
	w.out = appendText(w.out, method)
	w.out = append(w.out, `,"path":`...)
	w.out = appendText(w.out, path)
	w.out = append(w.out, `,"protocol":`...)
	w.out = appendText(w.out, protocol)
	return true
}

// status is three digits and a space.
func (w *walk) status() bool {
	if w.at+3 > len(w.line) || w.line[w.at] == '0' || !allDigits(w.line[w.at:w.at+3]) {
		return w.stop("status", w.at, "should be three digits")
	}
	w.out = append(w.out, `,"status":`...)
	w.out = append(w.out, w.line[w.at:w.at+3]...)
	w.at += 3
	return w.expect(' ', "status", "a space should follow")
}

// bytes is digits or `-`, and a space. JSON knows no leading zeros.
func (w *walk) bytes() bool {
	start := w.at
	if !w.word("bytes") {
		return false
	}
	digits := w.line[start : w.at-1]
	w.out = append(w.out, `,"bytes":`...)
	if len(digits) == 1 && digits[0] == '-' {
		w.out = append(w.out, "null"...)
		return true
	}
	for at, digit := range digits {
		if !isDigit(digit) {
			return w.stop("bytes", start+at, "should be digits, or `-` for none")
		}
	}
	for len(digits) > 1 && digits[0] == '0' {
		digits = digits[1:]
	}
	w.out = append(w.out, digits...)
	return true
}

func (w *walk) referer() bool {
	start := w.at + 1
	end, plain, ok := w.quoted("referer")
	if !ok || !w.expect(' ', "referer", "a space should follow") {
		return false
	}
	w.quotedField(`,"referer":`, w.line[start:end], plain)
	return true
}

// agent is the last field: where the line was cut off inside it, it is taken as it stands.
func (w *walk) agent() bool {
	if !w.expect('"', "agent", "should begin with a quote") {
		return false
	}
	start := w.at
	end, plain := closingQuote(w.line, start)
	if end+1 < len(w.line) {
		return w.stop("agent", end+1, "the line should end behind its closing quote")
	}
	w.quotedField(`,"agent":`, w.line[start:end], plain)
	return true
}

func (w *walk) quotedField(name string, text []byte, plain bool) {
	w.out = append(w.out, name...)
	if !plain || len(text) == 1 {
		w.out = appendUnlessDash(w.out, text)
		return
	}
	w.out = append(w.out, '"')
	w.out = append(w.out, text...)
	w.out = append(w.out, '"')
}

// quoted steps over text in quotes. It gives where the text ends, and whether JSON takes it as it stands.
func (w *walk) quoted(field string) (end int, plain, ok bool) {
	if !w.expect('"', field, "should begin with a quote") {
		return 0, false, false
	}
	end, plain = closingQuote(w.line, w.at)
	if end == len(w.line) {
		return 0, false, w.stop(field, end, "the closing quote is missing")
	}
	w.at = end + 1
	return end, plain, true
}

// word steps over bytes up to a space, and over the space.
func (w *walk) word(field string) bool {
	for at := w.at; at < len(w.line); at++ {
		if w.line[at] != ' ' {
			continue
		}
		if at == w.at {
			return w.stop(field, at, "empty")
		}
		w.at = at + 1
		return true
	}
	if w.at == len(w.line) {
		return w.stop(field, w.at, "missing: the line ends here")
	}
	return w.stop(field, len(w.line), "a space should follow")
}

func (w *walk) expect(letter byte, field, problem string) bool {
	if w.at >= len(w.line) || w.line[w.at] != letter {
		return w.stop(field, w.at, problem)
	}
	w.at++
	return true
}

func isDigit(letter byte) bool { return letter-'0' < 10 }

func allDigits(text []byte) bool {
	for _, letter := range text {
		if !isDigit(letter) {
			return false
		}
	}
	return true
}
