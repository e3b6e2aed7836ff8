package jenkinstest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// ControlPath is where a Server with Options.Control takes switches by HTTP, for programs that are not its
// process. It asks for no login: have it on the loopback interface only. GET lists what there is.
const ControlPath = "/stand-in/"

const controlHelp = `POST fail              {"Kind":"503","N":1,"Method":"","Path":"","Delay":0}   spoil the next N requests; kinds: 502 503 login redirect hang reset slow cut lost; Delay in ns
POST heal              end all faults
POST down              begin a restart: 503 from now on
POST up?lose=true      end it; with lose=true the queue is lost
POST restart?lose=true both at once
POST quiet?on=true     quiet down, or on=false
POST tokens?reject=true     refuse API tokens, or reject=false
POST disable?job=PATH&on=true
POST drop?job=PATH&name=NAME     take declared parameters away; without name, all
POST delete?job=PATH&number=N    delete a build
POST result?job=PATH&number=N&result=UNSTABLE    of a build that goes on running
GET  posts?job=PATH    {"posts":N}: requests to start a build of it
GET  requests          all requests so far
`

// serveControl does one thing of controlHelp.
func (s *Server) serveControl(w http.ResponseWriter, r *http.Request, what string) {
	query := r.URL.Query()
	switch r.Method + " " + what {
	case "GET ":
		fmt.Fprint(w, controlHelp)
		return
	case "GET posts":
		writeJSON(w, map[string]int{"posts": s.Posts(query.Get("job"))})
		return
	case "GET requests":
		writeJSON(w, s.Requests())
		return
	}
	if r.Method != http.MethodPost {
		http.Error(w, controlHelp, http.StatusNotFound)
		return
	}
	if err := s.control(what, query, r); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) control(what string, query url.Values, r *http.Request) error {
	job := query.Get("job")
	flag := func(name string) (bool, error) {
		if !query.Has(name) {
			return false, nil
		}
		return strconv.ParseBool(query.Get(name))
	}
	on, err1 := flag("on")
	lose, err2 := flag("lose")
	reject, err3 := flag("reject")
	build := 0
	var err4 error
	if query.Has("number") {
		build, err4 = strconv.Atoi(query.Get("number"))
	}
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	switch what {
	case "fail":
		var f Fault
		if err := json.NewDecoder(r.Body).Decode(&f); err != nil {
			return err
		}
		return s.Fail(f)
	case "heal":
		s.Heal()
	case "down":
		s.GoDown()
	case "up":
		s.ComeUp(lose)
	case "restart":
		s.Restart(lose)
	case "quiet":
		s.QuietDown(on)
	case "tokens":
		s.RejectTokens(reject)
	case "disable":
		return s.DisableJob(job, on)
	case "drop":
		return s.DropParameters(job, query["name"]...)
	case "delete":
		return s.DeleteBuild(job, build)
	case "result":
		return s.SetResult(job, build, query.Get("result"))
	default:
		return fmt.Errorf("no switch %q; GET %s lists them", what, ControlPath)
	}
	return nil
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // who asked may be gone
}
