package main

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// The scripts of cobra ask `weir __complete WORD…`, for which the shell has to
// have understood the line. It has not when the cursor is inside of quotes, and
// that is where a LogQL selector is typed. So our scripts hand over the line as
// it is, and everything about quotes is decided here.

// lineCommand is what the scripts call.
func lineCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "__complete_line SHELL LINE [COMP_TYPE COLUMNS COMP_WORDBREAKS]",
		Hidden:             true,
		DisableFlagParsing: true,
		Args:               cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			shell, line := args[0], args[1]
			args = append(args[2:], "", "", "")
			breaks := args[2]
			if shell != "bash" {
				breaks = ""
			}
			l := splitLine(shell, line, breaks)
			found, directive := completeWords(cmd, l.words, l.word)
			columns, _ := strconv.Atoi(args[1]) // 0 is as good as unknown
			// 63 ?, 33 !, 64 @: bash shows the list (see COMP_TYPE in its manual).
			listing := shell == "bash" && strings.Contains(" 63 33 64 ", " "+args[0]+" ")
			return l.print(cmd.OutOrStdout(), found, directive, listing, columns)
		},
	}
}

// candidate is a word that could stand where the cursor is.
type candidate struct{ word, description string }

// completeWords returns the candidates for the last word after others.
func completeWords(cmd *cobra.Command, words []string, last string) ([]candidate, cobra.ShellCompDirective) {
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs(append(append([]string{cobra.ShellCompRequestCmd}, words...), last))
	root.SetOut(&out)
	root.SetErr(io.Discard)
	if err := root.ExecuteContext(cmd.Context()); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	// cobra answers with what stands behind the = only.
	prefix := ""
	if name, _, ok := strings.Cut(last, "="); ok && strings.HasPrefix(name, "-") {
		prefix = name + "="
	}
	var found []candidate
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	directive, err := strconv.Atoi(strings.TrimPrefix(lines[len(lines)-1], ":"))
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	for _, line := range lines[:len(lines)-1] {
		word, description, _ := strings.Cut(line, "\t")
		if word = prefix + word; strings.HasPrefix(word, last) {
			found = append(found, candidate{word, description})
		}
	}
	return found, cobra.ShellCompDirective(directive)
}

// typedLine is a command line up to the cursor.
type typedLine struct {
	shell string
	words []string // after the command's own name, without the last
	word  string   // the last, without its quotes
	// What the shell is going to replace is the end of the last word: all of it,
	// or, in bash, what stands behind an open quote or a break. kept is the word
	// before that.
	kept  string
	quote byte // the open one; 0 if there is none
	whole bool // all of the word is replaced, and nothing of it is quoted
}

// splitLine splits a line into words as the shell does. breaks are the
// characters that end a word for bash's line editor, but not for the shell.
func splitLine(shell, line, breaks string) typedLine {
	l := typedLine{shell: shell, whole: true}
	var words []string
	var word []byte
	in := false                      // a word has begun
	quote := byte(0)                 // the open one
	behindQuote, behindBreak := 0, 0 // of word
	end := func() {
		if in {
			words = append(words, string(word))
		}
		word, in, behindBreak, l.whole = nil, false, 0, true
	}
	for i := 0; i < len(line); i++ {
		c := line[i]
		next := byte(0)
		if i+1 < len(line) {
			next = line[i+1]
		}
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case c == '\\' && next != 0 && escapes(shell, quote, next):
			word, in, l.whole = append(word, next), true, false
			i++
		case quote != 0:
			word = append(word, c)
		case c == '\'' || c == '"':
			quote, in, l.whole = c, true, false
			behindQuote = len(word)
		case c == ' ' || c == '\t' || c == '\n':
			end()
		default:
			word, in = append(word, c), true
			if strings.IndexByte(breaks, c) >= 0 {
				behindBreak, l.whole = len(word), false
			}
		}
	}
	l.word, l.quote = string(word), quote
	switch {
	case shell != "bash":
	case quote != 0:
		l.kept = string(word[:behindQuote])
	default:
		l.kept = string(word[:behindBreak])
	}
	if len(words) > 0 {
		l.words = words[1:]
	}
	return l
}

// escapes reports whether a backslash before c stands for c.
func escapes(shell string, quote, c byte) bool {
	switch {
	case quote == 0:
		return true
	case quote == '"':
		return strings.IndexByte("\"$`\\", c) >= 0
	}
	return shell == "fish" && (c == '\'' || c == '\\')
}

// print writes the answer for the script: how to go on, in words, then the
// candidates. bash gets what it shall insert, the others the words themselves,
// which they quote.
func (l *typedLine) print(w io.Writer, found []candidate, d cobra.ShellCompDirective, listing bool, columns int) error {
	var b bytes.Buffer
	switch {
	case d&cobra.ShellCompDirectiveError != 0:
		b.WriteString("none")
	case len(found) > 0 && d&cobra.ShellCompDirectiveNoSpace != 0:
		b.WriteString("nospace")
	case len(found) > 0 || d&cobra.ShellCompDirectiveNoFileComp != 0:
		b.WriteString("none")
	case d&cobra.ShellCompDirectiveFilterDirs != 0:
		b.WriteString("dirs")
	default:
		b.WriteString("files")
	}
	b.WriteByte('\n')
	if len(found) == 1 && d&cobra.ShellCompDirectiveNoSpace != 0 && (l.shell == "bash" && l.quote != 0 || l.shell == "fish") {
		// For a single one they would close the quote, or add a space.
		found = append(found, candidate{found[0].word + "…", ""})
	}
	width := 0
	for i, c := range found {
		if l.shell == "bash" {
			found[i].word = l.quoted(c.word)
			width = max(width, utf8.RuneCountInString(found[i].word))
		}
	}
	for _, c := range found {
		switch {
		case l.shell != "bash":
			fmt.Fprintf(&b, "%s\t%s\n", c.word, c.description)
		case listing && len(found) > 1 && c.description != "" && columns > width+20:
			text := []rune(c.description)
			if room := columns - width - 5; len(text) > room {
				text = append(text[:room-1], '…')
			}
			fmt.Fprintf(&b, "%s%*s  (%s)\n", c.word, width-utf8.RuneCountInString(c.word), "", string(text))
		default:
			b.WriteString(c.word + "\n")
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// quoted returns what bash has to insert for a word that begins with what is
// typed.
func (l *typedLine) quoted(word string) string {
	rest := strings.TrimPrefix(word, l.kept)
	switch l.quote {
	case '\'':
		return strings.ReplaceAll(rest, "'", `'\''`)
	case '"':
		return backslashed(rest, "\"$`\\")
	}
	const special = " \t\"'`$&|;()<>{}[]*?!#~\\"
	switch {
	case !strings.ContainsAny(rest, special):
		return rest
	case l.whole && strings.HasPrefix(rest, "{"):
		text := "'" + strings.ReplaceAll(rest, "'", `'\''`)
		if strings.HasSuffix(rest, "}") {
			text += "'"
		}
		return text // a selector that goes on leaves the quote open
	}
	return backslashed(rest, special)
}

func backslashed(s, special string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if strings.IndexByte(special, s[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
