package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonFailure returns the failure for a line that is not a request, in terms of JSON and not of Go types. It shows no
// character of the line, which may have a password.
func jsonFailure(line []byte, err error) *failure {
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case err == errLoneSurrogate:
		return failf(classUsage, "%s %w", loneSurrogateField(line), err).withHint("write a character above U+FFFF as two escapes, or as UTF-8")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return endsEarly()
	case errors.As(err, &syntax):
		return syntaxFailure(bytes.TrimRight(line, "\r\n"))
	case errors.As(err, &typ):
		wanted := "a string"
		switch typ.Type.Kind() {
		case reflect.Struct:
			wanted = "an object"
		case reflect.Slice:
			wanted = "a list of strings"
		case reflect.Int:
			wanted = "an integer"
		case reflect.Bool:
			wanted = "true or false"
		}
		f := failf(classUsage, "%s is a JSON %s, not %s", cmp.Or(typ.Field, "the line"), typ.Value, wanted)
		if wanted == "a string" && (typ.Value == "number" || typ.Value == "bool") {
			return f.withHint("put the value in quotes")
		}
		return f
	}
	return failf(classUsage, "%s", strings.TrimPrefix(err.Error(), "json: "))
}

func endsEarly() *failure {
	return failf(classUsage, "the line is not JSON: it ends too early").withHint("write each request on one line")
}

// syntaxFailure returns the failure for a line that is not JSON. A decoder of many lines does not know the position in this
// one.
func syntaxFailure(line []byte) *failure {
	var syntax *json.SyntaxError
	if !errors.As(json.Unmarshal(line, new(json.RawMessage)), &syntax) || strings.HasPrefix(syntax.Error(), "unexpected end") {
		return endsEarly()
	}
	before := line[:syntax.Offset-1]
	f := failf(classUsage, "the line is not JSON: unexpected character at column %d", utf8.RuneCount(before)+1)
	if line[len(before)] == '\'' {
		return f.withHint("use double quotes")
	}
	return f
}

// errLoneSurrogate completes a sentence that begins with the name of a field. encoding/json replaces a lone surrogate by
// U+FFFD, which would send another password.
var errLoneSurrogate = errors.New("is not valid Unicode: it has a lone surrogate")

// hasLoneSurrogate reports whether valid JSON has an escape such as \ud83d without the other half of its pair.
func hasLoneSurrogate(text []byte) bool {
	for {
		i := bytes.IndexByte(text, '\\')
		if i < 0 {
			return false
		}
		text = text[i:]
		r, size := escapedUnit(text)
		switch second, n := escapedUnit(text[size:]); {
		case !utf16.IsSurrogate(r):
		case utf16.DecodeRune(r, second) == utf8.RuneError:
			return true
		default:
			size += n
		}
		text = text[size:]
	}
}

// escapedUnit returns the UTF-16 code unit that text begins with as \uXXXX, or 0, and the size of the escape.
func escapedUnit(text []byte) (unit rune, size int) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, min(2, len(text))
	}
	n, _ := strconv.ParseUint(string(text[2:6]), 16, 16) // valid in valid JSON
	return rune(n), 6
}

// loneSurrogateField returns the name of the field with a lone surrogate.
func loneSurrogateField(line []byte) string {
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(line, &fields) // the line is valid
	for _, name := range sortedNames(fields) {
		if hasLoneSurrogate(fields[name]) {
			return name
		}
	}
	return "the line"
}

// sortedNames returns the names of the fields of an object in their order.
func sortedNames(object map[string]json.RawMessage) (names []string) {
	for name := range object {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
