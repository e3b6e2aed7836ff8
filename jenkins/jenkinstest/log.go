package jenkinstest

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
)

// progressiveText answers what of the log lies behind start=. Lines end in CRLF, whatever the log has, so the
// next start is what X-Text-Size says and not what was read.
func (x *exchange) progressiveText(b *build) answer {
	a := answerOf(http.StatusOK, textPlain, "")
	text, err := os.ReadFile(b.logFile())
	if errors.Is(err, fs.ErrNotExist) {
		return a.with("X-Text-Size", "0").with("X-More-Data", "true")
	}
	if err != nil {
		return x.oops(http.StatusInternalServerError, "java.io.IOException: "+err.Error())
	}
	start := 0
	if given, there := x.form["start"]; there {
		if start, err = strconv.Atoi(given[0]); err != nil || start < 0 {
			return x.oops(http.StatusInternalServerError, "java.lang.NumberFormatException: For input string: \""+given[0]+"\"")
		}
	}
	if start > len(text) {
		start = 0
	}
	a.body = strings.ReplaceAll(strings.ReplaceAll(string(text[start:]), "\r\n", "\n"), "\n", "\r\n")
	if b.logUpdated() {
		a = a.with("X-More-Data", "true")
	}
	return a.with("X-Text-Size", strconv.Itoa(len(text)))
}

// consoleText answers the whole log as it is.
func (x *exchange) consoleText(b *build) answer {
	text, err := os.ReadFile(b.logFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return x.oops(http.StatusInternalServerError, "java.io.IOException: "+err.Error())
	}
	return answerOf(http.StatusOK, textPlain, string(text))
}

func length(text string) string { return strconv.Itoa(len(text)) }
