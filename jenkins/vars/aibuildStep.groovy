import groovy.json.JsonOutput
import groovy.json.JsonSlurper

// aibuildStep is what the other steps of this library are made of: call one command of aibuild, with its options as one
// JSON object in the environment, its secrets bound around nothing but that call, and its result read back. The texts of
// `sh` are constants: nothing that somebody chose, such as a branch's name, ever becomes a part of a shell's program.

// settings are the options that all steps share, with what they are without being given.
Map settings(Map given, Map own = [:]) {
    Map all = [
        aibuild: '',                                // path of the binary; empty: $AIBUILD_BIN, else aibuild of PATH
        server: '',                                 // address of the daemon; empty: $AIBUILD_SERVER
        credentialsId: 'aibuild-token',             // secret text: a token of the role recorder (release: releaser)
        cloudsCredentialsId: 'aibuild-clouds',      // secret file: clouds.yaml
        databaseCredentialsId: '',                  // secret text: AIBUILD_DSN, for people without a daemon
        out: 'aibuild-out',                         // folder in the workspace for results, reports and evidence
        run: '',                                    // run.json of aibuildOpen; empty: the step stands alone
        dir: '.',                                   // folder of the image's definition
    ]
    all.putAll(own)
    String strange = unknown(all, given)
    if (strange) {
        error('aibuild: there is no option ' + strange + '; there are: ' + String.join(', ', new ArrayList(all.keySet())))
    }
    all.putAll(pruned(given))
    // Jenkins looks for reports and artifacts by patterns, in which these have a meaning.
    if (all.out.contains(',') || all.out.contains('*') || all.out.contains('?') || all.out.contains('..') || all.out.startsWith('/')) {
        error('aibuild: out is a folder below the workspace, without commas, stars and question marks in its name: ' + all.out)
    }
    return all
}

@NonCPS
String unknown(Map all, Map given) {
    List names = []
    for (name in given.keySet()) {
        if (!all.containsKey(name)) {
            names.add(name)
        }
    }
    return String.join(', ', names)
}

// invoke runs aibuild and gives its result as a map: status, exit_code, error, image_uuid, artifact, timings_ms …
//   words    the command, such as 'runs open'
//   options  of the command, by their long names; args: its arguments
//   secrets  of 'token', 'clouds' that the command needs; none for what runs code of the image
Map invoke(Map s, String words, Map options, List secrets) {
    String result = s.out + '/' + words.replace(' ', '-') + '-result.json'
    prepare(s)
    Map all = [result: result]
    all.putAll(options)
    List variables = ['AIBUILD_COMMAND=' + words, 'AIBUILD_OPTIONS=' + JsonOutput.toJson(pruned(all))]
    if (s.aibuild) {
        variables.add('AIBUILD_BIN=' + s.aibuild)
    }
    int code = 0
    if (secrets) {
        if (s.server) {
            variables.add('AIBUILD_SERVER=' + s.server)
        }
        withEnv(variables) {
            withCredentials(bindings(s, secrets)) {
                code = sh(label: 'aibuild ' + words, returnStatus: true, script: '"${AIBUILD_BIN:-aibuild}" $AIBUILD_COMMAND')
            }
        }
    } else {
        // Foreign code follows: it gets no address to speak to either.
        withEnv(variables + ['AIBUILD_SERVER=', 'AIBUILD_TOKEN=', 'AIBUILD_TOKEN_FILE=', 'AIBUILD_DSN=', 'AIBUILD_DSN_FILE=', 'OS_CLIENT_CONFIG_FILE=']) {
            code = sh(label: 'aibuild ' + words, returnStatus: true, script: '"${AIBUILD_BIN:-aibuild}" $AIBUILD_COMMAND')
        }
    }
    Map answer = fileExists(result) ? parse(readFile(file: result, encoding: 'UTF-8')) : [:]
    if (answer.exit_code != code) { // the binary did not come so far
        answer = [status: 'error', exit_code: code, error: [code: 'infrastructure', message: missing(code, words), hint: '']]
    }
    return answer
}

// missing says why there is no result.
String missing(int code, String words) {
    if (code == 127) {
        return 'aibuild is not installed on this agent: put it into PATH, or set the option aibuild or the variable AIBUILD_BIN to its path'
    }
    if (code == 126) {
        return 'aibuild cannot be executed on this agent: AIBUILD_BIN or the option aibuild leads to something else, or it is built for other machines'
    }
    return 'aibuild ' + words + ' ended with ' + code + ' and left no result; the console says why'
}

// bindings are the credentials of one call.
List bindings(Map s, List secrets) {
    List all = []
    if (secrets.contains('token')) {
        if (s.databaseCredentialsId) {
            all.add(string(credentialsId: s.databaseCredentialsId, variable: 'AIBUILD_DSN'))
        } else {
            all.add(string(credentialsId: s.credentialsId, variable: 'AIBUILD_TOKEN'))
        }
    }
    if (secrets.contains('clouds')) {
        all.add(file(credentialsId: s.cloudsCredentialsId, variable: 'OS_CLIENT_CONFIG_FILE'))
    }
    return all
}

// prepare makes the folder for what aibuild writes. git does not see it: it would make the checkout a changed one.
void prepare(Map s) {
    if (!fileExists(s.out + '/.gitignore')) {
        writeFile(file: s.out + '/.gitignore', text: '*\n', encoding: 'UTF-8')
    }
}

// failed ends the step as the result says: the error that is shown is aibuild's own failure block. A test that ran and
// did not pass makes the build unstable, unless onTestFailure is FAILURE.
void failed(Map s, Map result) {
    String text = result.error ? result.error.message : 'aibuild ended with ' + result.exit_code
    if (result.status == 'unstable' && s.onTestFailure != 'FAILURE') {
        unstable(text)
        return
    }
    error(text)
}

// reports gives Jenkins what the stage has left: test report, manifest, evidence.
void reports(Map s, String stage) {
    junit(testResults: s.out + '/' + stage + '.xml', allowEmptyResults: true)
    archiveArtifacts(artifacts: s.out + '/archive/**,' + s.out + '/*-result.json', allowEmptyArchive: true, fingerprint: true)
}

// open registers the run of this build, or takes it up again, and gives what it goes through.
Map open(Map s, Map options = [:]) {
    Map all = [out: s.out + '/run.json', args: [s.dir]]
    all.putAll(options)
    Map answer = [:]
    withEnv(person()) {
        answer = invoke(s, 'runs open', all, ['token'])
    }
    if (answer.exit_code != 0) {
        failed(s, answer)
    }
    s.run = s.out + '/run.json'
    keep(s)
    return parse(readFile(file: s.run, encoding: 'UTF-8'))
}

// person is who has started this build, for the record of a run that registers itself.
List person() {
    List causes = currentBuild.getBuildCauses('hudson.model.Cause$UserIdCause')
    return causes && causes[0].userId ? ['BUILD_USER_ID=' + causes[0].userId] : []
}

// record delivers what stages without secrets have journalled. end: the run has come to its end.
Map record(Map s, boolean end) {
    take(s)
    return invoke(s, 'runs record', [run: s.run, end: end], ['token'])
}

// keep stashes what the stages of a run know of it: the next one may come to another agent, or find its workspace wiped.
void keep(Map s) {
    stash(name: stashed(s), includes: s.run)
}

// take brings it back where it is not. It says whether it is there now.
boolean take(Map s) {
    if (fileExists(s.run)) {
        return true
    }
    try {
        unstash(stashed(s))
    } catch (hudson.AbortException e) { // nothing is stashed: no run was opened in this build
        echo('aibuild: ' + e.message)
        return false
    }
    return true
}

// stashed is the name of the stash. aibuildPipeline gives a mark: several of them may be at work in one build.
String stashed(Map s) {
    return 'aibuild ' + (s.run + ' ' + (s.mark ?: '')).hashCode()
}

@NonCPS
Map pruned(Map m) {
    Map kept = [:]
    for (name in m.keySet()) {
        if (m[name] != null && m[name] != '' && m[name] != []) {
            kept[name] = m[name]
        }
    }
    return kept
}

// parse reads JSON into maps and lists that Jenkins can keep over a restart. JsonSlurper's own cannot be kept, and
// JsonSlurperClassic is none of what the sandbox lets pass.
@NonCPS
Map parse(String text) {
    return (Map) plain(new JsonSlurper().parseText(text))
}

@NonCPS
Object plain(Object value) {
    if (value instanceof Map) {
        Map copy = [:]
        for (name in value.keySet()) {
            copy[name] = plain(value[name])
        }
        return copy
    }
    if (value instanceof List) {
        List copy = []
        for (one in value) {
            copy.add(plain(one))
        }
        return copy
    }
    return value
}
