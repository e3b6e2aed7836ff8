package jenkinstest

import (
	"errors"
	"html"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// route finds what a path asks for below Jenkins' root.
func (x *exchange) route(names []string) answer {
	if it, rest := x.walkTo(names); it != nil && it != x.root {
		if !x.caller.canRead(it) {
			return x.gone()
		}
		return x.routeItem(it, rest)
	}
	if len(names) > 1 && names[0] == "view" && names[1] == "all" {
		if isAPI(names[2:]) {
			return x.json(x.view())
		}
		return x.route(names[2:])
	}
	switch {
	case len(names) == 0:
		return x.layout(http.StatusOK, "Dashboard", "<h1>Welcome to Jenkins!</h1>")
	case isAPI(names):
		return x.json(x.front())
	case names[0] == "queue":
		return x.routeQueue(names[1:])
	case names[0] == "computer":
		return x.routeComputer(names[1:])
	case names[0] == "label" && len(names) > 2 && isAPI(names[2:]):
		return x.json(x.labelBean(names[1]))
	case isAPI(names[1:]):
		return x.routeSmall(names[0])
	case len(names) == 1:
		return x.routeAction(names[0])
	}
	return x.gone()
}

// walkTo follows job/NAME/job/NAME as far as it leads; nil when a name is unknown.
func (s *Server) walkTo(names []string) (*item, []string) {
	it := s.root
	for len(names) >= 2 && names[0] == "job" && it.isFolder() {
		if it = it.children[names[1]]; it == nil {
			return nil, nil
		}
		names = names[2:]
	}
	return it, names
}

func isAPI(names []string) bool { return slices.Equal(names, []string{"api", "json"}) }

func (x *exchange) gone() answer { return x.notFound(x.r.URL.EscapedPath()) }

// routeSmall answers /NAME/api/json.
func (x *exchange) routeSmall(name string) answer {
	switch name {
	case "whoAmI":
		return x.json(x.whoAmI())
	case "me":
		if x.caller.anonymous {
			return x.gone()
		}
		return x.json(x.me())
	case "pluginManager":
		// Overall/SystemRead does too, where it is switched on.
		if !x.caller.may(Administer, x.root) {
			return x.denied(x.caller, Administer, x.r.URL.EscapedPath())
		}
		return x.json(x.plugins())
	case "crumbIssuer":
		session := x.webSession(x.r)
		if session == "" {
			session = "node0" + newSession() + newSession()
			x.cookies[session], x.cookie = true, session
		}
		return x.json((&bean{class: "hudson.security.csrf.DefaultCrumbIssuer"}).
			put("crumb", x.crumb(x.caller, session, x.r)).put("crumbRequestField", crumbField))
	}
	return x.gone()
}

// routeAction answers POST /NAME.
func (x *exchange) routeAction(name string) answer {
	if name == "login" || name == "whoAmI" {
		return x.layout(http.StatusOK, "Jenkins", "<h1>"+html.EscapeString(name)+"</h1>")
	}
	if name == "createItem" {
		return x.post(func() answer { return x.createItem(x.root) })
	}
	admin := map[string]func(){
		"quietDown":       func() { x.quiet(true) },
		"cancelQuietDown": func() { x.quiet(false) },
		"restart":         func() { x.goDown() },
		"safeRestart":     func() { x.quiet(true) },
	}[name]
	if admin == nil {
		return x.gone()
	}
	return x.post(func() answer {
		if !x.caller.may(Administer, x.root) {
			return x.denied(x.caller, Administer, x.r.URL.EscapedPath())
		}
		admin()
		if name == "restart" {
			x.work.Go(func() {
				sleep(x.ctx, 500*time.Millisecond)
				x.ComeUp(false)
			})
		}
		return x.redirect(x.options.Context + "/")
	})
}

// post does what only a POST may do.
func (x *exchange) post(do func() answer) answer {
	if x.r.Method != http.MethodPost {
		return x.mustPost()
	}
	return do()
}

// need does something that wants a permission for an item.
func (x *exchange) need(p Permission, it *item, do func() answer) answer {
	if !x.caller.may(p, it) {
		return x.denied(x.caller, p, x.r.URL.EscapedPath())
	}
	return do()
}

func (x *exchange) routeItem(it *item, rest []string) answer {
	switch {
	case len(rest) == 0:
		return x.layout(http.StatusOK, it.fullDisplayName(), "<h1>"+html.EscapeString(it.fullDisplayName())+"</h1>")
	case isAPI(rest):
		return x.json(x.itemBean(it))
	case len(rest) == 1 && rest[0] == "config.xml":
		return x.need(ItemConfigure, it, func() answer { return x.configXML(it) })
	case len(rest) == 1 && rest[0] == "configure":
		return x.need(ItemConfigure, it, func() answer {
			return x.layout(http.StatusOK, it.fullDisplayName()+" Config", "<form method=\"post\" action=\"configSubmit\"></form>")
		})
	case len(rest) == 1 && rest[0] == "doDelete":
		return x.post(func() answer { return x.need(ItemDelete, it, func() answer { return x.deleteItem(it) }) })
	case len(rest) == 1 && rest[0] == "createItem" && it.isFolder():
		return x.post(func() answer { return x.createItem(it) })
	case it.isFolder():
		return x.gone()
	}
	switch rest[0] {
	case "build", "buildWithParameters":
		if len(rest) == 1 {
			return x.trigger(it, rest[0])
		}
	case "enable", "disable":
		if len(rest) == 1 {
			return x.post(func() answer {
				return x.need(ItemConfigure, it, func() answer {
					x.disable(it, rest[0] == "disable")
					return x.redirect(x.options.Context + "/" + it.path())
				})
			})
		}
	default:
		if b := it.named(rest[0]); b != nil {
			return x.routeBuild(b, rest[1:])
		}
	}
	return x.gone()
}

// permalinks are names for builds.
var permalinks = map[string]func(*build) bool{
	"lastBuild":             func(*build) bool { return true },
	"lastCompletedBuild":    func(b *build) bool { return !b.running() },
	"lastFailedBuild":       func(b *build) bool { return !b.running() && b.result == "FAILURE" },
	"lastStableBuild":       func(b *build) bool { return !b.running() && b.result == "SUCCESS" },
	"lastSuccessfulBuild":   func(b *build) bool { return !b.running() && (b.result == "SUCCESS" || b.result == "UNSTABLE") },
	"lastUnstableBuild":     func(b *build) bool { return !b.running() && b.result == "UNSTABLE" },
	"lastUnsuccessfulBuild": func(b *build) bool { return !b.running() && b.result != "SUCCESS" },
}

// named finds a build by number or permalink; nil if there is none.
func (it *item) named(name string) *build {
	if fits := permalinks[name]; fits != nil {
		return it.newest(fits)
	}
	n, err := strconv.Atoi(name)
	if err != nil {
		return nil
	}
	return it.build(n)
}

func (x *exchange) routeBuild(b *build, rest []string) answer {
	switch {
	case len(rest) == 0:
		return x.layout(http.StatusOK, b.item.fullDisplayName()+" #"+strconv.Itoa(b.number), "<h1>Build #"+strconv.Itoa(b.number)+"</h1>")
	case isAPI(rest):
		return x.json(x.buildBean(b))
	case slices.Equal(rest, []string{"logText", "progressiveText"}):
		return x.progressiveText(b)
	case len(rest) > 1:
		return x.gone() // wfapi too: the plugin pipeline-rest-api is not installed
	}
	switch rest[0] {
	case "consoleText":
		return x.consoleText(b)
	case "stop":
		return x.post(func() answer { return x.stopBuild(b, false) })
	case "term", "kill":
		if b.job.kind() == Pipeline {
			return x.post(func() answer { // unlike stop, these look at the permission first
				return x.need(ItemCancel, b.item, func() answer { return x.stopBuild(b, rest[0] == "kill") })
			})
		}
	case "doDelete":
		return x.post(func() answer {
			return x.need(RunDelete, b.item, func() answer {
				x.deleteBuild(b)
				return x.redirect(x.options.Context + "/" + b.item.path())
			})
		})
	}
	return x.gone()
}

func (x *exchange) routeQueue(rest []string) answer {
	switch {
	case isAPI(rest):
		return x.json(x.queueBean())
	case len(rest) == 1 && rest[0] == "cancelItem":
		return x.post(x.cancelItem)
	case len(rest) < 2 || rest[0] != "item":
		return x.gone()
	}
	id, err := number(rest[1])
	if err != nil {
		return x.gone()
	}
	e := x.entryByID(id)
	if e == nil || !x.caller.canRead(e.item) {
		return x.gone()
	}
	switch rest = rest[2:]; {
	case isAPI(rest):
		return x.json(x.entryBean(e))
	case len(rest) == 0 && x.profile.queueItemPage:
		return answerOf(http.StatusOK, textPlain, "Queue item exists. For details check, for example, "+
			x.r.URL.EscapedPath()+"api/json?tree=cancelled,executable[url]")
	}
	return x.gone()
}

// cancelItem follows Queue.doCancelItem: 204 since 2.211.
func (x *exchange) cancelItem() answer {
	given := x.form.Get("id")
	id, err := number(given)
	if err != nil {
		return x.oops(http.StatusInternalServerError, "java.lang.NumberFormatException: For input string: \""+given+"\"")
	}
	e := x.entryByID(id)
	switch {
	case e == nil || !x.caller.canRead(e.item):
		return x.oops(http.StatusNotFound, "java.lang.Exception: Provided id ("+given+") not found")
	case !x.caller.may(ItemCancel, e.item):
		return x.oops(http.StatusUnprocessableEntity, "java.lang.Exception: Item for id ("+given+") is not cancellable")
	case !x.cancel(e):
		return x.oops(http.StatusInternalServerError, "java.lang.Exception: Could not cancel run for id "+given)
	}
	return answerOf(http.StatusNoContent, "", "")
}

func number(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err == nil && n < 0 {
		err = errors.New("negative")
	}
	return n, err
}
