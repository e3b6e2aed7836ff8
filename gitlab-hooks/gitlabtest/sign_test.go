package gitlabtest

import (
	"encoding/base64"
	"testing"
	"time"
)

// The vector that the libraries of Standard Webhooks are tested with.
func TestSignVector(t *testing.T) {
	key, err := base64.StdEncoding.DecodeString("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("sign = %s; want %s", got, want)
	}
}

func TestBackoff(t *testing.T) {
	for doublings, want := range map[int]time.Duration{0: time.Minute, 1: 2 * time.Minute, 10: 1024 * time.Minute, 11: 24 * time.Hour, 36: 24 * time.Hour} {
		if got := backoff(doublings); got != want {
			t.Errorf("backoff(%d) = %v; want %v", doublings, got, want)
		}
	}
}
