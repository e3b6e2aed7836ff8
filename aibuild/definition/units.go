package definition

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"time"
)

// Size is a number of bytes, written as 512MiB, 1GiB or plain bytes.
type Size int64

var sizePattern = regexp.MustCompile(`^([0-9]{1,18})(B|KiB|MiB|GiB|TiB)?$`)

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// ParseSize reads a size such as 1GiB. Decimal units (GB) are refused, as they are mostly meant to be binary.
func ParseSize(text string) (Size, error) {
	parts := sizePattern.FindStringSubmatch(text)
	if parts == nil {
		return 0, fmt.Errorf("%q is no size; write a whole number with B, KiB, MiB, GiB or TiB, such as 1GiB", text)
	}
	n, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no size: %w", text, err)
	}
	for _, unit := range sizeUnits {
		if parts[2] != unit.name {
			continue
		}
		if n > math.MaxInt64/unit.bytes {
			return 0, fmt.Errorf("%q is too large; write a smaller size", text)
		}
		n *= unit.bytes
	}
	return Size(n), nil
}

// String writes the size in the largest unit that keeps it whole.
func (s Size) String() string {
	for _, unit := range sizeUnits {
		if s != 0 && int64(s)%unit.bytes == 0 {
			return fmt.Sprintf("%d%s", int64(s)/unit.bytes, unit.name)
		}
	}
	return fmt.Sprintf("%dB", int64(s))
}

// UnmarshalText reads what ParseSize reads.
func (s *Size) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSize(string(text))
	return err
}

var days = regexp.MustCompile(`^([0-9]{1,5})d(.*)$`)

// ParseDuration reads 90m, 1h30m, 7d or 1d12h. A duration is never negative.
func ParseDuration(text string) (time.Duration, error) {
	var whole time.Duration
	rest := text
	if parts := days.FindStringSubmatch(text); parts != nil {
		n, err := strconv.Atoi(parts[1])
		if err != nil {
			return 0, fmt.Errorf("%q is no duration: %w", text, err)
		}
		whole, rest = time.Duration(n)*24*time.Hour, parts[2]
		if rest == "" {
			return whole, nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || whole+d < 0 {
		return 0, fmt.Errorf("%q is no duration; write a number with s, m, h or d, such as 90m or 7d", text)
	}
	return whole + d, nil
}
