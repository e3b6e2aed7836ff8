package jenkins_test

import (
	"strings"
	"testing"

	"github.com/guestos/aibuild/jenkins"
)

func logReply(size, more, body string) reply {
	header := map[string]string{"Content-Type": "text/plain;charset=UTF-8"}
	for name, value := range map[string]string{"X-Text-Size": size, "X-More-Data": more} {
		if value != "" {
			header[name] = value
		}
	}
	return reply{200, header, body}
}

func TestLog(t *testing.T) {
	tests := []struct {
		name   string
		start  int64
		answer reply
		text   string
		next   int64
		more   bool
	}{
		{"running", 0, logReply("12", "true", "Started\r\nok\r\n"), "Started\nok\n", 12, true},
		{"done", 12, logReply("17", "", "bye\rx\r\n"), "bye\rx\n", 17, false},
		{"nothing new", 17, logReply("17", "true", ""), "", 17, true},
		{"no log yet", 0, logReply("0", "true", ""), "", 0, true},
		{"shorter than it was", 400, logReply("12", "", "Started\r\nok\r\n"), "Started\nok\n", 12, false},
		{"an old spelling of no", 0, logReply("3", "false", "a\r\n"), "a\n", 3, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := fakeJenkins(t, map[string]reply{"GET /ci/job/folder/job/app/52/logText/progressiveText": test.answer})
			text, next, more, err := f.client().Log(t.Context(), "folder/app", 52, test.start)
			if err != nil || string(text) != test.text || next != test.next || more != test.more {
				t.Errorf("Log = %q, %d, %v, %v; want %q, %d, %v", text, next, more, err, test.text, test.next, test.more)
			}
		})
	}
}

func TestLogRefused(t *testing.T) {
	tests := []struct {
		name   string
		answer reply
		reason error
		says   string
	}{
		{"no such build", htmlReply(404, jettyPage("404", "Not Found")), jenkins.ErrNotFound, "check the number"},
		{"no size", logReply("", "true", "text"), jenkins.ErrProtocol, "no header X-Text-Size"},
		{"odd size", logReply("many", "", "text"), jenkins.ErrProtocol, "no header X-Text-Size"},
		{"negative size", logReply("-1", "", "text"), jenkins.ErrProtocol, "no header X-Text-Size"},
		{"html", htmlReply(200, loginPage), jenkins.ErrProtocol, "no header X-Text-Size"},
		{"empty 502", reply{502, nil, ""}, jenkins.ErrUnavailable, "bad gateway"},
		{"no permission", htmlReply(403, "").with("X-You-Are-Authenticated-As", user).with("X-Required-Permission", "hudson.model.Item.Read"),
			jenkins.ErrForbidden, "aibuild lacks hudson.model.Item.Read"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := fakeJenkins(t, map[string]reply{"GET /ci/job/app/52/logText/progressiveText": test.answer})
			text, _, _, err := f.client().Log(t.Context(), "app", 52, 0)
			if text != nil {
				t.Errorf("text %q beside an error", text)
			}
			checkError(t, err, test.reason, test.answer.status, test.says)
		})
	}
}

// TestLogTooLong: a log of any size is read to its end, in bounded memory, and says what is missing.
func TestLogTooLong(t *testing.T) {
	const limit = 4 << 20
	line := strings.Repeat("x", 62) + "\r\n"
	body := strings.Repeat(line, (limit+limit/4)/64)
	f := fakeJenkins(t, map[string]reply{"GET /ci/job/app/52/logText/progressiveText": logReply("9000000", "", body)})
	text, next, more, err := f.client().Log(t.Context(), "app", 52, 0)
	if err != nil || next != 9000000-limit/2 || !more {
		t.Fatalf("Log = %d bytes, %d, %v, %v", len(text), next, more, err)
	}
	head := strings.Repeat(strings.Repeat("x", 62)+"\n", limit/64)
	if want := head + "\n[aibuild: the log has 9000000 bytes; a part of it is left out here]\n"; string(text) != want {
		t.Errorf("%d bytes that end with %q", len(text), text[len(text)-100:])
	}
	exact := strings.Repeat(line, limit/64)
	f = fakeJenkins(t, map[string]reply{"GET /ci/job/app/52/logText/progressiveText": logReply("9000000", "", exact)})
	if text, next, more, err := f.client().Log(t.Context(), "app", 52, 0); err != nil || next != 9000000 || more || string(text) != head {
		t.Errorf("a log of just the limit: %d bytes, %d, %v, %v", len(text), next, more, err)
	}
}
