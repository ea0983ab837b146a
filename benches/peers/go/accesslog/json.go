package accesslog

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// The bytes that JSON does not take as they stand, found in eight bytes at a time: a quote, a backslash, a
// control character, and what is not ASCII (which may be wrong UTF-8). Bit 7 of a byte of the result marks
// it; above the lowest mark there may be wrong ones, so only the lowest counts. This is the test for a zero
// byte, and for a byte below n, of Sean Anderson's "Bit Twiddling Hacks".
func marks(word uint64) uint64 {
	const each = 0x0101010101010101
	quote := (word ^ each*'"') - each
	backslash := (word ^ each*'\\') - each
	control := word - each*' '
	return (quote | backslash | control | word) & (each << 7)
}

// closingQuote looks from a byte on for the quote that ends the text, and gives where it stands, or the end
// of the line. A quote after a backslash is part of the text. Plain is text that JSON takes as it stands.
func closingQuote(line []byte, from int) (end int, plain bool) {
	plain = true
	at := from
	for {
		for at+8 <= len(line) {
			if found := marks(binary.LittleEndian.Uint64(line[at:])); found != 0 {
				at += bits.TrailingZeros64(found) / 8
				break
			}
			at += 8
		}
		if at >= len(line) {
			return len(line), plain
		}
		switch letter := line[at]; {
		case letter == '"':
			return at, plain
		case letter == '\\':
			// The backslash and what it escapes; a line may end behind it.
			plain = false
			at += 2
		case letter < ' ' || letter >= utf8.RuneSelf:
			plain = false
			at++
		default:
			at++
		}
	}
}

func appendUnlessDash(out, text []byte) []byte {
	if len(text) == 1 && text[0] == '-' {
		return append(out, "null"...)
	}
	return appendText(out, text)
}

// appendText writes bytes that may be anything as a JSON string; bytes that are no UTF-8 become U+FFFD.
func appendText(out, text []byte) []byte {
	out = append(out, '"')
	written := 0
	for at := 0; at < len(text); {
		letter := text[at]
		if letter < utf8.RuneSelf {
			if letter < ' ' || letter == '"' || letter == '\\' {
				out = append(out, text[written:at]...)
				out = appendEscape(out, letter)
				written = at + 1
			}
			at++
			continue
		}
		length, valid := sequence(text[at:])
		if !valid {
			out = append(out, text[written:at]...)
			out = append(out, `\ufffd`...)
			written = at + length
		}
		at += length
	}
	out = append(out, text[written:]...)
	return append(out, '"')
}

func appendEscape(out []byte, letter byte) []byte {
	switch letter {
	case '"':
		return append(out, `\"`...)
	case '\\':
		return append(out, `\\`...)
	case '\n':
		return append(out, `\n`...)
	case '\r':
		return append(out, `\r`...)
	case '\t':
		return append(out, `\t`...)
	}
	const hex = "0123456789abcdef"
	return append(out, '\\', 'u', '0', '0', hex[letter>>4], hex[letter&15])
}

// sequence gives the length of the character at the start of text, which is not ASCII. Of a wrong one it is
// the longest part that could have become a character, and one U+FFFD stands for that: so the Unicode
// standard recommends (chapter 3, "U+FFFD Substitution of Maximal Subparts"), and so Rust's library does.
// The ranges are those of its table 3-7. Go's own decoder would take a single byte.
func sequence(text []byte) (length int, valid bool) {
	low, high, want := byte(0x80), byte(0xbf), 0
	switch lead := text[0]; {
	case 0xc2 <= lead && lead <= 0xdf:
		want = 2
	case 0xe0 <= lead && lead <= 0xef:
		want = 3
		if lead == 0xe0 {
			low = 0xa0
		} else if lead == 0xed {
			high = 0x9f
		}
	case 0xf0 <= lead && lead <= 0xf4:
		want = 4
		if lead == 0xf0 {
			low = 0x90
		} else if lead == 0xf4 {
			high = 0x8f
		}
	default:
		return 1, false
	}
	for length = 1; length < want; length++ {
		if length == len(text) || text[length] < low || text[length] > high {
			return length, false
		}
		low, high = 0x80, 0xbf
	}
	return want, true
}
