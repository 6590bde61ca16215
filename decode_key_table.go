package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// A keyTable is candidate keys: first those of options, then those of lists. The lists are kept as text, since they may have
// millions of keys. The index of a key in a list is the offset of its line, after the keys of options.
type keyTable struct {
	given   []key
	text    string // of all lists; every line ends
	lists   []listedKeys
	count   int
	sources map[int]string
}

// A listedKeys is a list of keys in a keyTable.
type listedKeys struct {
	source string
	start  int // in the text
}

// end returns the first index after all keys.
func (t *keyTable) end() int { return len(t.given) + len(t.text) }

// at returns the key at an index and the index of the next one. ok is false for an empty line.
func (t *keyTable) at(index int) (value string, next int, ok bool) {
	if index < len(t.given) {
		return t.given[index].value, index + 1, true
	}
	line := t.text[index-len(t.given):]
	n := strings.IndexByte(line, '\n') + 1
	value = trimLineEnd(line[:n])
	return value, index + n, value != ""
}

// source returns where the key at an index comes from: for one of a list the file and the line.
func (t *keyTable) source(index int) string {
	if index < len(t.given) {
		return t.given[index].source
	}
	if name := t.sources[index]; name != "" {
		return name
	}
	if t.sources == nil || len(t.sources) == maxKeySources {
		t.sources = make(map[int]string)
	}
	at := index - len(t.given)
	list := t.lists[0]
	for _, l := range t.lists {
		if l.start <= at {
			list = l
		}
	}
	name := fmt.Sprintf("%s:%d", list.source, 1+strings.Count(t.text[list.start:at], "\n"))
	t.sources[index] = name
	return name
}

// tried names up to three keys by their sources, or the number of more and their files.
func (t *keyTable) tried() string {
	var sources []string
	if t.count > 3 {
		for _, k := range t.given {
			sources = append(sources, k.source)
		}
		for _, l := range t.lists {
			if !slices.Contains(sources, l.source) {
				sources = append(sources, l.source)
			}
		}
		return fmt.Sprintf("among the %d keys of %s", t.count, strings.Join(sources[:min(len(sources), 3)], ", "))
	}
	for i := 0; i < t.end(); {
		_, next, ok := t.at(i)
		if ok {
			sources = append(sources, t.source(i))
		}
		i = next
	}
	return "that of " + strings.Join(sources, ", ")
}

// Bounds of a list of keys, in bytes.
const (
	maxKeyListFile = 8 << 20
	maxKeyListLine = 4096
	maxKeyLists    = 12 << 20 // all of them
	maxKeySources  = 1 << 12  // names of keys that are kept
)

// addList reads the keys of a file, one on each line. Empty lines are ignored; blanks are part of the key.
func (t *keyTable) addList(ctx context.Context, inv *invocation, name string) (err error) {
	const what = "list of keys"
	var content []byte
	source := sourceName(name)
	if name == "-" {
		err = fileError("read the "+what, interruptible(ctx, func() (err error) { content, err = readAtMost(inv.std.in, source, maxKeyListFile); return err }))
	} else {
		content, err = readFile(ctx, what, name, maxKeyListFile)
		inv.warnReadable(what, name)
	}
	if err != nil {
		return err
	}
	text, err := trimMark(string(content))
	if err != nil {
		return errUTF16(what, "from "+source)
	}
	n, count, spaced := 0, 0, 0
	for line := range strings.Lines(text) {
		n++
		value := trimLineEnd(line)
		if strings.TrimRightFunc(value, unicode.IsSpace) != value {
			spaced++
		}
		if len(value) > maxKeyListLine {
			return failf(classUsage, "line %d of the list of keys %s is over %d bytes", n, source, maxKeyListLine)
		}
		if value != "" {
			count++
		}
	}
	if count == 0 {
		return failf(classUsage, "no keys in %s", source)
	}
	if spaced > 0 {
		inv.warnf(warnTrailingSpace, "trailing white space in %s is part of %s", source, howMany(spaced, "key"))
	}
	if len(t.text)+len(text) >= maxKeyLists {
		return failf(classUsage, "the lists of keys are over %d bytes in all", maxKeyLists)
	}
	t.lists = append(t.lists, listedKeys{source, len(t.text)})
	t.text, t.count = t.text+text+"\n", t.count+count
	return nil
}
