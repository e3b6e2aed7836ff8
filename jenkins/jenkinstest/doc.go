// Package jenkinstest is a Jenkins controller to test against: it answers as Jenkins does, and its executors
// really run the commands of its jobs.
//
//	jenkins, err := jenkinstest.Start(jenkinstest.Options{QuietPeriod: -1})
//	if err != nil { t.Fatal(err) }
//	t.Cleanup(func() { if err := jenkins.Close(); err != nil { t.Error(err) } })
//	err = jenkins.AddJob(jenkinstest.Job{Path: "aibuild/build", Command: "echo $RUN", Parameters: []jenkinstest.Parameter{{Name: "RUN"}}})
//	// now talk to jenkins.URL() as jenkinstest.DefaultUser with jenkinstest.DefaultToken
//
// # What it is faithful to
//
// Two versions, read from the sources of Jenkins 2.300 and 2.541.3, Stapler, Winstone with Jetty 9.4 and 12, and
// workflow-job of their time: [Profile2300] and [ProfileCurrent]. Of these, for everything that is listed here:
//
//   - status, headers, and every byte of JSON: classes, order of fields, what which depth shows, tree= with nested
//     names, * and ranges, pretty, the escaping of control characters;
//   - triggers: build and buildWithParameters with delay=, 201 with a Location made from what the caller called us
//     (X-Forwarded-* too), folding (303, in the old version 201), 409, 400 (in the old version 500) for a job without
//     parameters, 405, defaults, choices, undeclared parameters that are dropped without a word;
//   - the queue: quiet period, blocked, buildable, pending and left items, their texts of why, ids that only grow,
//     left items for [Options].LeftFor, cancelItem (204; 404; 422 without the permission; 500 for what left);
//   - builds: numbers, building and inProgress, results that only get worse, permalinks, stop, term, kill, doDelete,
//     progressiveText with its CRLF and its offsets of the file, consoleText;
//   - folders, job documents, createItem, config.xml, enable, disable, doDelete, nodes, labels, executors; the ids of
//     plugins, for administrators;
//   - logins by password (with crumbs, bound to a web session) and API token (without), 401, 403 with the missing
//     permission in headers, 404 for what may not be seen;
//   - restarts: 503 pages, another X-Jenkins-Session, left items forgotten, quieting down.
//
// Where the sources and what people write about Jenkins differ, the sources count. So: pages for exceptions (500,
// and 409 in the old version) do not tell the exception's message unless [Options].ShowStackTrace is set; the
// page of a starting Jenkins has no header X-Jenkins; nor has the 201 of a trigger; quotes like ‘ in X-Error
// arrive as spaces; builds find CI=true in their environment; without any agent, Jenkins does not say that a
// label has no nodes.
//
// # What it is not faithful to
//
//   - Of HTML pages only status, headers, title and the words are Jenkins' own; the markup around is shorter. Where
//     Jetty would answer with JSON because of an Accept header, this answers with HTML.
//   - Only api/json, not api/xml or api/python. No CLI, no views but "all", no users' pages, no plugins' paths: wfapi
//     is 404, as without the plugin. No artifacts, no changes of an SCM, no test reports.
//   - Groovy does not run. A [Pipeline] has a shell script as [Job].Command and runs it in one node step; its Groovy
//     script is kept, and handed to that. One that came by createItem runs the command of [Options].Adopted, or fails
//     saying so.
//   - Of a plugin, the plugin manager tells id and that it is active.
//   - Of a config.xml it understands parameters, description, label, quiet period, concurrency, disabled and shell
//     steps; the rest is kept as it was sent and does nothing. Labels are single names, no expressions.
//   - Authorization is by [Grant] for folders and below. There is no Discover, and a user with ExtendedRead alone
//     does not exist.
//   - A restart ends freestyle builds (ABORTED) and lets pipelines go on; a stand-in whose process dies leaves what
//     ran as FAILURE, which is what Jenkins makes of freestyle builds then. The home folder has Jenkins' layout but
//     JSON files of our own in it.
//   - Executors are chosen in order, the built-in node first; Jenkins has a load balancer.
//
// # Bad days
//
// [Server.Fail] spoils answers: in front of Jenkins (502, 503, a login page, a redirect, silence, a cut connection)
// or behind it, when the thing is done but the answer is slow, cut or lost. Other methods make the things happen
// that happen to a Jenkins. [Server.Posts] counts the requests to start a build of a job.
//
// Builds run through aibuild/process: in a process group, in the job's workspace (the second at a time in NAME@2,
// as there; it is used again, so a script must cope with what it finds, or the job has [Job].Clean), with
// [Options].Environ and Jenkins' variables and the parameters in their environment. Stopping one is TERM to the
// group, and KILL after [Options].Grace.
//
// Times are Go durations, sizes are bytes. A Server is safe for concurrent use. Errors of the stand-in itself, such
// as a full disk, are returned by [Server.Close]. The package is for tests and demonstrations; its face only grows.
package jenkinstest
