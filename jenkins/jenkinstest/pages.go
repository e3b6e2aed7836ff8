package jenkinstest

import (
	"fmt"
	"html"
	"net/http"
	"strings"

	"github.com/google/uuid"
)

// answer is a whole answer, made under the lock and sent after it.
type answer struct {
	status int
	header http.Header
	body   string
}

func answerOf(status int, contentType, body string) answer {
	a := answer{status, http.Header{}, body}
	if contentType != "" {
		a.header.Set("Content-Type", contentType)
	}
	return a
}

func (a answer) with(name, value string) answer {
	a.header.Set(name, value)
	return a
}

// failure is an error of whoever asks, which Jenkins tells with status 400 and X-Error.
type failure string

func (f failure) Error() string { return string(f) }

// thrown is a Java exception that nobody catches: class and message.
type thrown string

func (t thrown) Error() string { return string(t) }

const (
	textHTML  = "text/html;charset=utf-8"
	textPlain = "text/plain;charset=utf-8"
)

// advertise adds the headers of answers that are made inside Jenkins, not by its container.
func (s *Server) advertise(a answer) answer {
	return a.with("X-Hudson", "1.395").with("X-Jenkins", s.profile.version).with("X-Jenkins-Session", s.session)
}

// layout is a page in Jenkins' frame.
func (s *Server) layout(status int, title, main string) answer {
	body := "<!DOCTYPE html><html><head><title>" + html.EscapeString(title) + " [Jenkins]</title></head>" +
		"<body id=\"jenkins\" class=\"yui-skin-sam\"><div id=\"main-panel\">" + main +
		"</div><footer><a href=\"https://www.jenkins.io/\">Jenkins " + s.profile.version + "</a></footer></body></html>"
	return s.advertise(answerOf(status, textHTML, body)).
		with("Expires", "0").with("Cache-Control", "no-cache,no-store,must-revalidate").with("X-Frame-Options", "sameorigin")
}

// container is an error page of Jetty.
func (s *Server) container(status int, uri, message string) answer {
	p := s.profile
	if message == "" {
		message = http.StatusText(status)
	}
	text := html.EscapeString(message)
	rule := "<hr/>"
	if !p.relativeRedirect {
		rule = "<hr>"
	}
	body := fmt.Sprintf("<html>\n<head>\n<meta http-equiv=\"Content-Type\" content=\"text/html;charset=%s\"/>\n"+
		"<title>Error %d %s</title>\n</head>\n<body><h2>HTTP ERROR %[2]d %[3]s</h2>\n<table>\n"+
		"<tr><th>URI:</th><td>%[4]s</td></tr>\n<tr><th>STATUS:</th><td>%[2]d</td></tr>\n<tr><th>MESSAGE:</th><td>%[3]s</td></tr>\n"+
		"<tr><th>SERVLET:</th><td>Stapler</td></tr>\n</table>\n%[5]s<a href=\"%[6]s\">Powered by Jetty:// %[7]s</a><hr/>\n\n</body>\n</html>\n",
		p.jettyCharset, status, text, html.EscapeString(uri), rule, p.jettyHome, p.jetty)
	return answerOf(status, "text/html;charset=iso-8859-1", body).with("Cache-Control", "must-revalidate,no-cache,no-store")
}

// oops is the page for what went wrong inside; it tells what only where stack traces are shown.
func (s *Server) oops(status int, what string) answer {
	main := "<h1 style=\"text-align: center\"><span style=\"font-size:50px\">&nbsp;Oops!</span></h1><div id=\"error-description\">" +
		"<h2 style=\"text-align: center\">" + s.profile.problem + "</h2><p style=\"text-align: center\">Logging ID=" + uuid.NewString() + "</p></div>"
	if s.options.ShowStackTrace {
		main += "<h2>Stack trace</h2><pre style=\"margin:2em; clear:both\">" + html.EscapeString(what) + "\n\tat hudson.model.Hudson(Stand-in)\n</pre>"
	}
	return s.layout(status, "Jenkins", main)
}

// unavailable is the only page of a Jenkins that starts or restarts.
func (s *Server) unavailable(why string) answer {
	title, text := "Starting Jenkins", s.profile.loading
	if why == "restarting" {
		title, text = "Restarting Jenkins", s.profile.restarting
	}
	body := "<!DOCTYPE html><html lang=\"en-US\"><head resURL=\"/static/" + s.session + "\"><title>" + title + "</title>" +
		"<meta name=\"ROBOTS\" content=\"NOFOLLOW\"/></head><body><div class=\"simple-page\" role=\"main\"><h1 class=\"loading\">" + text +
		"<span>.</span><span>.</span><span>.</span></h1><p>Your browser will reload automatically when Jenkins is ready.</p></div></body></html>"
	return answerOf(http.StatusServiceUnavailable, textHTML, body).
		with("Expires", "0").with("Cache-Control", "no-cache,no-store,must-revalidate")
}

// notFound is a 404.
func (s *Server) notFound(uri string) answer {
	if !s.profile.ownNotFound {
		return s.container(http.StatusNotFound, uri, "Not Found")
	}
	return s.layout(http.StatusNotFound, "Not Found - Jenkins", "<h1 style=\"text-align: center\">&nbsp;Oops!</h1><div id=\"error-description\"><h2 style=\"text-align: center\">Not Found</h2></div>")
}

// denied says which permission is missing, to people in a page and to programs in headers.
func (s *Server) denied(c caller, p Permission, uri string) answer {
	known := permissions[p]
	a := s.layout(http.StatusForbidden, "Jenkins", "<h1>Access Denied</h1><p class=\"error\">"+
		html.EscapeString(c.Name+" is missing the "+known.title+" permission")+"</p>")
	if c.anonymous {
		a = s.loginRequired(c, p, uri)
	}
	a = a.with("X-You-Are-Authenticated-As", c.Name).with("X-You-Are-In-Group-Disabled", headerDisabled).with("X-Required-Permission", string(p))
	for _, by := range known.implied {
		a.header.Add("X-Permission-Implied-By", string(by))
	}
	return a
}

// loginRequired is what a browser without a login gets: a page that leads to the login form.
func (s *Server) loginRequired(c caller, p Permission, uri string) answer {
	form := html.EscapeString(s.options.Context + "/login?from=" + escapeQuery(uri))
	var why strings.Builder
	fmt.Fprintf(&why, "You are authenticated as: %s\nGroups that you are in:\n  \nPermission you need to have (but didn't): %s\n", c.Name, p)
	for _, by := range permissions[p].implied {
		fmt.Fprintf(&why, " ... which is implied by: %s\n", by)
	}
	body := fmt.Sprintf("<html><head><meta http-equiv='refresh' content='1;url=%[1]s'/><script id='redirect' data-redirect-url='%[1]s' "+
		"src='%[2]s/static/%[3]s/scripts/redirect.js'></script></head><body style='background-color:white; color:white;'>\n"+
		"Authentication required\n<!--\n%[4]s-->\n\n</body></html>%[5]s", form, s.options.Context, s.session, why.String(), strings.Repeat(" ", 300))
	return s.advertise(answerOf(http.StatusForbidden, textHTML, body))
}

// complain is the page for a failure. Header values are Latin-1: what is not becomes a space, as Jetty does it.
func (s *Server) complain(f failure) answer {
	latin := strings.Map(func(r rune) rune {
		if r > 0xff || r == '\r' || r == '\n' {
			return ' '
		}
		return r
	}, string(f))
	return s.layout(http.StatusBadRequest, "Error", "<h1>Error</h1><p>"+html.EscapeString(string(f))+"</p>").with("X-Error", toLatin1(latin))
}

// toLatin1 turns runes below 256 into the bytes that go over the wire.
func toLatin1(text string) string {
	bytes := make([]byte, 0, len(text))
	for _, r := range text {
		bytes = append(bytes, byte(r))
	}
	return string(bytes)
}

// mustPost is the answer to a GET of what changes something.
func (s *Server) mustPost() answer {
	return s.layout(http.StatusMethodNotAllowed, "Form post required", "<p>You must use POST method to trigger builds. "+
		"(From scripts you may instead pass a per-project authentication token, or authenticate with your API token.) "+
		"If you see this page, it may be because a plugin offered a GET link; file a bug report for that plugin.</p>"+
		"<form method=\"POST\"><input type=\"submit\" value=\"Proceed\"/></form>").with("Allow", "POST")
}
