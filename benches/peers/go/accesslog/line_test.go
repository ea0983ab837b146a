package accesslog

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

const get = `83.149.9.216 - - [17/May/2015:10:05:03 +0000] "GET /presentations/a.png HTTP/1.1" 200 203023 "http://semicomplete.com/" "Mozilla/5.0 (Macintosh)"`

func written(t *testing.T, line string) string {
	t.Helper()
	out, err := Append(nil, []byte(line))
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return string(out)
}

func fields(t *testing.T, line string) map[string]any {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal([]byte(written(t, line)), &object); err != nil {
		t.Fatalf("%q becomes no JSON: %v", line, err)
	}
	return object
}

// with gives the line with one part of it replaced.
func with(part, other string) string {
	if !strings.Contains(get, part) {
		panic(part + " is not in the line")
	}
	return strings.Replace(get, part, other, 1)
}

func TestLineBecomesObjectWithAllFieldsInOrder(t *testing.T) {
	const want = `{"client":"83.149.9.216","ident":null,"user":null,"time":"2015-05-17T10:05:03Z",` +
		`"method":"GET","path":"/presentations/a.png","protocol":"HTTP/1.1","status":200,` +
		`"bytes":203023,"referer":"http://semicomplete.com/","agent":"Mozilla/5.0 (Macintosh)"}`
	for _, line := range []string{get, get + "\n", get + "\r\n"} {
		if is := written(t, line); is != want {
			t.Errorf("%q becomes\n%s, not\n%s", line, is, want)
		}
	}
}

func TestTextsAndTheirAbsence(t *testing.T) {
	for line, want := range map[string]string{
		`::1 id mary ann [29/Feb/2016:23:59:60 -0730] "-" 304 - "-" "-"`: `{"client":"::1","ident":"id",` +
			`"user":"mary ann","time":"2016-02-29T23:59:60-07:30","method":null,"path":null,` +
			`"protocol":null,"status":304,"bytes":null,"referer":null,"agent":null}`,
		`h - - [01/Jan/2000:00:00:00 +0000] "GET / HTTP/1.0" 200 0070 "" "x`: `{"client":"h","ident":null,` +
			`"user":null,"time":"2000-01-01T00:00:00Z","method":"GET","path":"/","protocol":"HTTP/1.0",` +
			`"status":200,"bytes":70,"referer":"","agent":"x"}`,
	} {
		if is := written(t, line); is != want {
			t.Errorf("%q becomes\n%s, not\n%s", line, is, want)
		}
	}
}

func TestRequestThatIsNoneIsGivenAsItStands(t *testing.T) {
	for _, c := range []struct {
		line         string
		method, path any
	}{
		{with("GET /presentations/a.png HTTP/1.1", `\x16\x03\x01`), nil, `\x16\x03\x01`},
		{with("a.png", "a b.png"), "GET", "/presentations/a b.png"},
		{with("a.png", "ä.png"), "GET", "/presentations/ä.png"},
		{with(" HTTP/1.1", ""), nil, "GET /presentations/a.png"},
		{with("GET /presentations/a.png ", ""), nil, "HTTP/1.1"},
	} {
		object := fields(t, c.line)
		if object["method"] != c.method || object["path"] != c.path {
			t.Errorf("%s: method %v, path %v", c.line, object["method"], object["path"])
		}
	}
}

func TestEscapes(t *testing.T) {
	agents := map[string]string{
		`a\"b\\`:           `a\\\"b\\\\`,
		"\a\t\x1f\x7f":     `\u0007\t\u001f` + "\x7f",
		"söl ✓ 😀":          "söl ✓ 😀",
		"\xe4\xe5x\xc3":    `\ufffd\ufffdx\ufffd`,
		"\xe2\x82":         `\ufffd`,
		"\xe2\x82x":        `\ufffdx`,
		"\xf0\x9f\x98x":    `\ufffdx`,
		"\xf0\x80\x80\x80": `\ufffd\ufffd\ufffd\ufffd`,
		"\xed\xa0\x80":     `\ufffd\ufffd\ufffd`,
		"\xf4\x90\x80\x80": `\ufffd\ufffd\ufffd\ufffd`,
		"\xef\xbf\xbd":     "\ufffd",
	}
	for agent, want := range agents {
		line := with("Mozilla/5.0", agent)
		if is := written(t, line); !strings.HasSuffix(is, `"agent":"`+want+` (Macintosh)"}`) {
			t.Errorf("%q becomes %s", agent, is)
		}
	}
}

func TestOpenLastFieldIsTakenAsItStands(t *testing.T) {
	open := strings.TrimSuffix(get, `tosh)"`)
	if is := fields(t, open)["agent"]; is != "Mozilla/5.0 (Macin" {
		t.Errorf("an open agent is %q", is)
	}
	if is := fields(t, open+`\`)["agent"]; is != `Mozilla/5.0 (Macin\` {
		t.Errorf("an agent that ends in a backslash is %q", is)
	}
}

func TestMalformedLineIsRefusedWithFieldAndByte(t *testing.T) {
	at := func(part string) int { return strings.Index(get, part) }
	for _, c := range []struct {
		line string
		want Malformed
	}{
		{"", Malformed{"client", 0, "missing: the line ends here"}},
		{"83.149.9.216", Malformed{"client", 12, "a space should follow"}},
		{" - -", Malformed{"client", 0, "empty"}},
		{"1.2.3.4 - - x", Malformed{"time", 12, "should begin with `[` and a digit"}},
		{with("May", "Mai"), Malformed{"time", 21, "the month should be one of Jan, Feb, …, Dec"}},
		{with("17/May", "31/Feb"), Malformed{"time", 18, "the month has no such day"}},
		{with("10:05:03", "24:05:03"), Malformed{"time", 30, "the hour should be 00 to 23"}},
		{with(`"GET`, `GET`), Malformed{"request", at(`"GET`), "should begin with a quote"}},
		{with(" 200 ", " 20x "), Malformed{"status", at("200 "), "should be three digits"}},
		{with(" 200 ", " 2000 "), Malformed{"status", at("200 ") + 3, "a space should follow"}},
		{with("203023", "20k"), Malformed{"bytes", at("203023") + 2, "should be digits, or `-` for none"}},
		{get + " x", Malformed{"agent", len(get), "the line should end behind its closing quote"}},
		{get[:at("semi")], Malformed{"referer", at("semi"), "the closing quote is missing"}},
	} {
		out, err := Append([]byte("kept"), []byte(c.line))
		var malformed *Malformed
		if !errors.As(err, &malformed) || *malformed != c.want {
			t.Errorf("%q: %v, not %v", c.line, err, &c.want)
		}
		if string(out) != "kept" {
			t.Errorf("%q leaves %q", c.line, out)
		}
	}
}

func TestNoLineThatIsCutOrChangedPanics(t *testing.T) {
	for at := range len(get) {
		for _, letter := range []byte{0, ' ', '"', '[', '\\', 0xff} {
			line := []byte(get)
			line[at] = letter
			for _, line := range [][]byte{line, line[:at+1]} {
				if out, err := Append(nil, line); err == nil && !(json.Valid(out) && utf8.Valid(out)) {
					t.Errorf("%q becomes %q", line, out)
				}
			}
		}
	}
}

func realLog(t testing.TB) [][]byte {
	t.Helper()
	file, err := os.Open("../../../../host/assets/apache_access.log.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	reader, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(bytes.TrimSuffix(text, []byte{'\n'}), []byte{'\n'})
}

func TestAllLinesOfRealLogComeOutWithKnownStatuses(t *testing.T) {
	statuses := map[float64]int{}
	for _, line := range realLog(t) {
		object := fields(t, string(line))
		if !strings.HasPrefix(string(line), object["client"].(string)+" ") {
			t.Fatalf("%s: the client is %s", line, object["client"])
		}
		statuses[object["status"].(float64)]++
	}
	known := map[float64]int{200: 9126, 206: 45, 301: 164, 304: 445, 403: 2, 404: 213, 416: 2, 500: 3}
	for status, count := range known {
		if statuses[status] != count {
			t.Errorf("status %v: %d lines, not %d", status, statuses[status], count)
		}
	}
	if len(statuses) != len(known) {
		t.Errorf("statuses %v", statuses)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	lines := realLog(t)
	out := make([]byte, 0, 1<<16)
	allocations := testing.AllocsPerRun(10, func() {
		for _, line := range lines {
			if _, err := Append(out, line); err != nil {
				t.Fatal(err)
			}
		}
	})
	if allocations != 0 {
		t.Errorf("%v allocations for %d lines", allocations, len(lines))
	}
}

func BenchmarkAppend(b *testing.B) {
	lines := realLog(b)
	out := make([]byte, 0, 1<<16)
	size := 0
	for _, line := range lines {
		size += len(line)
	}
	b.SetBytes(int64(size / len(lines)))
	for at := 0; b.Loop(); at++ {
		if _, err := Append(out, lines[at%len(lines)]); err != nil {
			b.Fatal(err)
		}
	}
}
