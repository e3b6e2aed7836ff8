package jenkinstest

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// trigger is POST build and buildWithParameters.
func (x *exchange) trigger(it *item, how string) answer {
	uri := x.r.URL.EscapedPath()
	post := x.r.Method == http.MethodPost
	if how == "build" { // this one looks at the job first
		switch {
		case !it.isBuildable():
			return x.notBuildable(it, how)
		case !post && len(it.job.Parameters) > 0:
			return x.layout(http.StatusMethodNotAllowed, it.fullDisplayName(), "<form method=\"post\" action=\"build\">This build requires parameters</form>")
		}
	}
	if !x.caller.may(ItemBuild, it) {
		return x.denied(x.caller, ItemBuild, uri)
	}
	if !post {
		return x.mustPost()
	}
	quiet, err := x.quietPeriod(it)
	if err != nil {
		return x.oops(http.StatusInternalServerError, err.Error())
	}
	switch {
	case how == "build" && len(it.job.Parameters) > 0:
		return x.submitForm(it, quiet)
	case how == "build":
		e, _ := x.schedule(it, quiet, nil, x.caller.cause())
		return x.queued(http.StatusCreated, e)
	case !it.isBuildable():
		return x.notBuildable(it, how)
	case len(it.job.Parameters) == 0 && x.profile.plainErrors:
		return x.container(http.StatusBadRequest, uri, it.fullName()+" is not parameterized")
	case len(it.job.Parameters) == 0:
		return x.oops(http.StatusInternalServerError, "java.lang.IllegalStateException: This build is not parameterized!")
	}
	values, err := it.job.values(x.form)
	if err != nil {
		return x.oops(http.StatusInternalServerError, err.Error())
	}
	e, fresh := x.schedule(it, quiet, values, x.caller.cause())
	if !fresh {
		return x.queued(x.profile.foldedStatus, e)
	}
	return x.queued(http.StatusCreated, e)
}

func (x *exchange) notBuildable(it *item, how string) answer {
	if x.profile.plainErrors {
		return x.container(http.StatusConflict, x.r.URL.EscapedPath(), it.fullName()+" is not buildable")
	}
	mark := ""
	if how != "build" {
		mark = "!"
	}
	return x.oops(http.StatusConflict, "java.io.IOException: "+it.fullName()+" is not buildable"+mark)
}

// queued names an entry, with a URL made from what the caller called us.
func (x *exchange) queued(status int, e *entry) answer {
	return answerOf(status, "", "").with("Location", x.seenURL()+x.options.Context+"/queue/item/"+strconv.FormatInt(e.id, 10)+"/")
}

// quietPeriod reads delay=: "3sec" are seconds, a bare number is milliseconds; less than a second is nothing.
func (x *exchange) quietPeriod(it *item) (time.Duration, error) {
	given := x.form.Get("delay")
	if !x.form.Has("delay") {
		if own := it.job.QuietPeriod; own != nil {
			return *own, nil
		}
		return x.options.QuietPeriod, nil
	}
	text, unit := strings.TrimSpace(given), time.Millisecond
	for _, suffix := range []string{"secs", "sec"} {
		if before, found := strings.CutSuffix(text, suffix); found {
			text, unit = strings.TrimSpace(before), time.Second
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0, thrown("java.lang.IllegalArgumentException: Invalid time duration value: " + given)
	}
	return (time.Duration(n) * unit).Truncate(time.Second), nil
}

// submitForm is what a browser sends to /build of a parameterized job: json={"parameter": …}. It never says 303.
func (x *exchange) submitForm(it *item, quiet time.Duration) answer {
	given, err := formValues(x.form)
	if err != nil {
		return x.container(http.StatusBadRequest, x.r.URL.EscapedPath(), "This page expects a form submission")
	}
	var values []value
	for _, g := range given {
		v, err := it.job.submitted(g)
		if err != nil {
			return x.oops(http.StatusInternalServerError, err.Error())
		}
		values = append(values, v)
	}
	e, fresh := x.schedule(it, quiet, values, x.caller.cause())
	if !fresh {
		path := x.r.URL.EscapedPath()
		return x.redirect(path[:strings.LastIndexByte(path, '/')+1])
	}
	return x.queued(http.StatusCreated, e)
}

// submitted is one value of a form.
type submitted struct {
	Name  string
	Value any
}

func (j Job) submitted(g submitted) (value, error) {
	text, isText := g.Value.(string)
	if b, isBool := g.Value.(bool); isBool {
		text, isText = strconv.FormatBool(b), true
	}
	for _, p := range j.Parameters {
		if p.Name == g.Name && isText {
			return p.value(text)
		}
	}
	return value{}, thrown("java.lang.IllegalArgumentException: No such parameter definition: " + g.Name)
}

// formValues reads the json= of a form, whose "parameter" is one object or a list of them.
func formValues(form url.Values) ([]submitted, error) {
	if form.Get("json") == "" {
		return nil, errors.New("no json")
	}
	var sent struct{ Parameter json.RawMessage }
	if err := json.Unmarshal([]byte(form.Get("json")), &sent); err != nil {
		return nil, err
	}
	if len(sent.Parameter) == 0 {
		return nil, nil
	}
	var one submitted
	if err := json.Unmarshal(sent.Parameter, &one); err == nil {
		return []submitted{one}, nil
	}
	var all []submitted
	err := json.Unmarshal(sent.Parameter, &all)
	return all, err
}
