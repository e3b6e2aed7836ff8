package hooks

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzRouting compares what is read of a body with what encoding/json reads: what is taken says the same to both, and
// what is refused is no JSON, says something twice, or is no text.
func FuzzRouting(f *testing.F) {
	good := string(goodBody())
	for _, body := range []string{
		good, "null", "", "[]", " {} ", `{"ref":7}`, `{"project":[1,{"a":{}}]}`, `{"project":{"path_with_namespace":"a\u002fb"},"re\u0066":"\ud83d\ude00"}`,
		strings.Replace(good, `"user_id":4`, `"user_id":4,"ref":"x"`, 1), strings.Replace(good, `"user_id":4`, `"project":{}`, 1),
		strings.Replace(good, "main", "\xff", 1), strings.Replace(good, `"project_id":15`, `"project_id":1.5e3`, 1), strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001),
		strings.Replace(good, `"push"`, `"tag_push"`, 2), `{"object_kind":"push","object_kind ":"x"}`, `{"before":"` + strings.Repeat("0", 64) + `"}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := decode(body)
		told := tellStandard(body)
		switch {
		case err != nil && told.sure:
			t.Fatalf("refused, though it has one meaning: %q", body)
		case err == nil && !told.valid:
			t.Fatalf("accepted, though it is no JSON or says something twice: %q", body)
		case err == nil && got != told.routing:
			t.Fatalf("%q\nread as %+v\nand by encoding/json as %+v", body, got, told.routing)
		}
		for _, system := range []bool{false, true} {
			kind, err := got.event(system)
			if err == nil && (kind != eventPush && kind != eventTag || !validRef(got.ref) || !objectID.MatchString(got.before) || !objectID.MatchString(got.after) || got.project == "") {
				t.Fatalf("event %q of %+v", kind, got)
			}
		}
	})
}

// standard is what encoding/json makes of a body.
type standard struct {
	valid   bool // JSON that says no routing field twice
	sure    bool // and all of it is text
	routing routing
}

func tellStandard(body []byte) standard {
	if !json.Valid(body) {
		return standard{}
	}
	told := standard{valid: true, sure: utf8.Valid(body)}
	top, once := members(body, "object_kind", "event_name", "ref", "before", "after", "project_id", "project", "user_username", "user_name")
	project, onceToo := members(top["project"], "path_with_namespace")
	told.valid = once && onceToo
	told.sure = told.sure && told.valid
	text := func(raw json.RawMessage) string {
		var s *string // null is no text
		if json.Unmarshal(raw, &s) != nil || s == nil {
			return ""
		}
		return *s
	}
	told.routing = routing{
		kind: text(top["object_kind"]), name: text(top["event_name"]), ref: text(top["ref"]), before: text(top["before"]), after: text(top["after"]),
		projectID: string(top["project_id"][:min(len(top["project_id"]), 20)]), project: text(project["path_with_namespace"]), actor: clean(text(top["user_username"])),
	}
	if told.routing.actor == "" {
		told.routing.actor = clean(text(top["user_name"]))
	}
	return told
}

// members are those of an object, by the names as they are spelled; once is false when one of the names comes twice.
func members(raw []byte, names ...string) (all map[string]json.RawMessage, once bool) {
	all = map[string]json.RawMessage{}
	if trimmed := bytes.TrimLeft(raw, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return all, true
	}
	once = true
	d := json.NewDecoder(bytes.NewReader(raw))
	_, _ = d.Token() // the brace; it is valid
	for d.More() {
		key, _ := d.Token()
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return all, once
		}
		for _, name := range names {
			if key == name {
				if _, twice := all[name]; twice {
					once = false
				}
				all[name] = bytes.TrimSpace(value)
			}
		}
	}
	return all, once
}

// FuzzSignature: a delivery proves something exactly when it carries the signature, by the definition of HMAC, of just
// that id, time and body, and the time is near.
func FuzzSignature(f *testing.F) {
	f.Add([]byte("a key of some bytes"), "msg_1", int64(0), []byte("{}"), "v1,AAAA", uint16(0))
	f.Add([]byte("k"), "", int64(-300), []byte(""), "", uint16(9))
	f.Add(bytes.Repeat([]byte("long"), 40), "a.b", int64(301), goodBody(), "v1, v2,x v1,", uint16(77))
	f.Add([]byte{}, "id", int64(1<<62), []byte("."), "v1,=", uint16(1))
	now := time.Unix(1_795_000_000, 0)
	f.Fuzz(func(t *testing.T, key []byte, id string, shift int64, body []byte, noise string, flip uint16) {
		at := fmt.Sprint(now.Unix() + shift)
		list := []Secret{{Project: "cloud/images", Value: fixed(signingPrefix + base64.StdEncoding.EncodeToString(key))}}
		proves := func(id, at string, body []byte, signature string) bool {
			header := http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {at}, "Webhook-Signature": {signature}, "X-Gitlab-Token": {string(key)}}
			p, err := prove(list, header, body, now)
			if err != nil || p.any() != p.speaksFor("cloud/images") || p.speaksFor("other/images") {
				t.Fatalf("proof %+v, %v", p, err)
			}
			return p.any()
		}
		right := "v1," + base64.StdEncoding.EncodeToString(hmacByHand(key, id+"."+at+"."+string(body)))
		want := len(key) > 0 && -300 <= shift && shift <= 300
		if proves(id, at, body, right) != want || proves(id, at, body, noise+" "+right+" "+noise) != want {
			t.Errorf("key %x, id %q, %d s: the right signature proves %v", key, id, shift, !want)
		}
		if strings.Contains(noise, right[3:20]) {
			return
		}
		changed := append(bytes.Clone(body), 0)
		changed[int(flip)%len(changed)] ^= 1 << (flip >> 13)
		mac := []byte(right)
		mac[3+int(flip)%42] ^= 1 // of the last of 43 digits, not all bits count
		for name, proven := range map[string]bool{
			"noise": proves(id, at, body, noise), "another body": proves(id, at, changed, right), "another id": proves(id+"x", at, body, right),
			"another time": proves(id, fmt.Sprint(now.Unix()+shift/2+1), body, right) && shift/2+1 != shift, "another signature": proves(id, at, body, string(mac)),
			"a moved border": id != "" && proves(id[:len(id)-1], at, append([]byte(id[len(id)-1:]), body...), right),
			"no version":     proves(id, at, body, right[3:]), "another version": proves(id, at, body, "v1a"+right[2:]),
		} {
			if proven {
				t.Errorf("key %x, id %q, %d s: %s proves something", key, id, shift, name)
			}
		}
	})
}

// hmacByHand is RFC 2104 over SHA-256, not by crypto/hmac.
func hmacByHand(key []byte, text string) []byte {
	var block [64]byte
	if len(key) > len(block) {
		sum := sha256.Sum256(key)
		key = sum[:]
	}
	copy(block[:], key)
	pad := func(with byte) []byte {
		padded := block
		for i := range padded {
			padded[i] ^= with
		}
		return padded[:]
	}
	inner := sha256.Sum256(append(pad(0x36), text...))
	outer := sha256.Sum256(append(pad(0x5c), inner[:]...))
	return outer[:]
}

// TestHMACByHand: the oracle is right, as openssl says.
func TestHMACByHand(t *testing.T) {
	at := time.Unix(1_795_000_000, 0)
	for _, key := range []string{"k", strings.Repeat("long", 40)} {
		secret := signingPrefix + base64.StdEncoding.EncodeToString([]byte(key))
		want := "v1," + base64.StdEncoding.EncodeToString(hmacByHand([]byte(key), fmt.Sprintf("id.%d.{}", at.Unix())))
		if got := opensslSignature(t, secret, "id", at, []byte("{}")); got != want {
			t.Errorf("openssl says %s, we %s", got, want)
		}
	}
}
