package accesslog

const timeLength = len("dd/Mmm/yyyy:hh:mm:ss +hhmm")

// time is `[17/May/2015:10:05:03 +0000]` and a space; it is written as RFC 3339 has it.
func (w *walk) time() bool {
	if !w.expect('[', "time", "should begin with `[`") {
		return false
	}
	if len(w.line)-w.at < timeLength {
		return w.stop("time", w.at, "cut off: `dd/Mmm/yyyy:hh:mm:ss +hhmm` has 26 bytes")
	}
	text := (*[timeLength]byte)(w.line[w.at:])
	month, wrong, problem := check(text)
	if problem != "" {
		return w.stop("time", w.at+wrong, problem)
	}
	w.at += timeLength
	if !w.expect(']', "time", "should end with `]`") || !w.expect(' ', "time", "a space should follow") {
		return false
	}
	w.out = append(w.out, `,"time":"0000-00-00T00:00:00+00:00"`...)
	moment := (*[26]byte)(w.out[len(w.out)-26:])
	copy(moment[:4], text[7:11])
	moment[5] += byte(month / 10)
	moment[6] += byte(month % 10)
	copy(moment[8:10], text[:2])
	copy(moment[11:19], text[12:20])
	copy(moment[19:22], text[21:24])
	copy(moment[23:25], text[24:26])
	if string(moment[20:25]) == "00:00" {
		copy(moment[19:], `Z"`)
		w.out = w.out[:len(w.out)-5]
	}
	return true
}

// check gives the month, or the byte that is wrong and why.
func check(text *[timeLength]byte) (month, wrong int, problem string) {
	if text[2] != '/' {
		return 0, 2, notLikeTime
	}
	if text[6] != '/' {
		return 0, 6, notLikeTime
	}
	if text[11] != ':' {
		return 0, 11, notLikeTime
	}
	if text[14] != ':' {
		return 0, 14, notLikeTime
	}
	if text[17] != ':' {
		return 0, 17, notLikeTime
	}
	if text[20] != ' ' {
		return 0, 20, notLikeTime
	}
	if month = monthOf(text[3], text[4], text[5]); month == 0 {
		return 0, 3, "the month should be one of Jan, Feb, …, Dec"
	}
	century, years := two(text[7], text[8]), two(text[9], text[10])
	if century > 99 || years > 99 {
		return 0, 7, "the year should have four digits"
	}
	if day := two(text[0], text[1]); day == 0 || day > days(century*100+years, month) {
		return 0, 0, "the month has no such day"
	}
	if two(text[12], text[13]) > 23 {
		return 0, 12, "the hour should be 00 to 23"
	}
	if two(text[15], text[16]) > 59 {
		return 0, 15, "the minute should be 00 to 59"
	}
	if two(text[18], text[19]) > 60 { // 60 is a leap second.
		return 0, 18, "the second should be 00 to 60"
	}
	if text[21] != '+' && text[21] != '-' || two(text[22], text[23]) > 23 || two(text[24], text[25]) > 59 {
		return 0, 21, "the zone should be + or -, two digits of hours and two of minutes"
	}
	return month, 0, ""
}

const notLikeTime = "should look like `dd/Mmm/yyyy:hh:mm:ss +hhmm`"

// two gives the number of two digits; it is above 99 if one of them is none.
func two(tens, ones byte) int {
	tens, ones = tens-'0', ones-'0'
	if tens > 9 || ones > 9 {
		return 100
	}
	return int(tens)*10 + int(ones)
}

// monthOf gives 1 to 12, or 0 for a name that is no month's.
func monthOf(a, b, c byte) int {
	const jan, feb, mar = 'J' | 'a'<<8 | 'n'<<16, 'F' | 'e'<<8 | 'b'<<16, 'M' | 'a'<<8 | 'r'<<16
	const apr, may, jun = 'A' | 'p'<<8 | 'r'<<16, 'M' | 'a'<<8 | 'y'<<16, 'J' | 'u'<<8 | 'n'<<16
	const jul, aug, sep = 'J' | 'u'<<8 | 'l'<<16, 'A' | 'u'<<8 | 'g'<<16, 'S' | 'e'<<8 | 'p'<<16
	const oct, nov, dec = 'O' | 'c'<<8 | 't'<<16, 'N' | 'o'<<8 | 'v'<<16, 'D' | 'e'<<8 | 'c'<<16
	switch uint32(a) | uint32(b)<<8 | uint32(c)<<16 {
	case jan:
		return 1
	case feb:
		return 2
	case mar:
		return 3
	case apr:
		return 4
	case may:
		return 5
	case jun:
		return 6
	case jul:
		return 7
	case aug:
		return 8
	case sep:
		return 9
	case oct:
		return 10
	case nov:
		return 11
	case dec:
		return 12
	}
	return 0
}

func days(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}
