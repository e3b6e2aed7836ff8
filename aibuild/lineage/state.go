package lineage

import "strings"

// facts are all that an image's state depends on.
type facts struct {
	revoked   bool
	verdict   string // test_log.test_result
	published bool
	targets   []Target
}

// state is the only place where the state of an image is decided:
//
//   - A revocation counts above all.
//   - An image whose latest verdict is "failed" is not good, wherever it was
//     released to. A latest "error" says nothing about the image, so it does
//     not take back what was published or released before.
//   - Released means: every cluster that it was meant for has it, visible or
//     hidden behind a newer one. Partly released: at least one has it.
func (f facts) state() string {
	verdict := verdictOf(f.verdict)
	have, lack := 0, 0
	for _, t := range f.targets {
		switch t.State {
		case TargetVisible, TargetHidden:
			have++
		default:
			lack++
		}
	}
	switch {
	case f.revoked:
		return StateRevoked
	case verdict == FailedTest:
		return StateTestFailed
	case have > 0 && lack == 0:
		return StateReleased
	case have > 0:
		return StatePartlyReleased
	case f.published:
		return StatePublished
	case verdict == Passed:
		return StatePassed
	case verdict == TestError:
		return StateTestError
	}
	return StateBuilt
}

// verdictOf reads test_result, which others may have written in other words.
func verdictOf(result string) string {
	switch strings.ToLower(strings.TrimSpace(result)) {
	case "":
		return ""
	case "passed", "pass", "ok", "success":
		return Passed
	case "failed", "fail", "failure":
		return FailedTest
	}
	return TestError
}

// runRank orders the states of a run; the highest are final.
var runRank = map[string]int{
	RunReceived: 0, RunQueued: 1, RunTriggering: 2, RunJenkinsQueue: 3, RunBuilding: 4,
	RunSuccess: finalRank, RunUnstable: finalRank, RunFailure: finalRank, RunAborted: finalRank, RunNotBuilt: finalRank,
	RunCancelled: finalRank, RunLost: finalRank, RunRejected: finalRank, RunSuperseded: finalRank,
}

const finalRank = 9
