import groovy.io.FileType
import java.nio.file.FileSystems
import java.nio.file.Files
import java.nio.file.Path
import java.nio.file.Paths

/**
 * Steps are those of Jenkins' Pipeline that the library uses, for scripts that run under plain Groovy: `sh` really runs,
 * credentials are really bound and masked, and everything is told in events, which tests read.
 */
abstract class Steps extends Script {
    static Build build

    def propertyMissing(String name) {
        switch (name) {
            case 'params': return build.params
            case 'env': return new Expando(build.environment())
            case 'currentBuild': return new CurrentBuild(build)
            case 'scm':
                if (build.scm == null) {
                    throw new StepFailed("'checkout scm' is only available when using \"Multibranch Pipeline\" or \"Pipeline script from SCM\"")
                }
                return build.scm
        }
        if (build.vars.containsKey(name)) {
            return build.vars[name]
        }
        throw new MissingPropertyException(name, this.class)
    }

    def methodMissing(String name, args) {
        if (build.vars.containsKey(name)) {
            return build.vars[name].invokeMethod('call', args)
        }
        throw new StepFailed("No such DSL method '${name}' found among steps")
    }

    def node(String label = '', Closure body) {
        build.tell(step: 'node', label: label)
        return body()
    }

    def stage(String name, Closure body) {
        build.tell(step: 'stage', name: name)
        println "[Pipeline] { (${name})"
        return body()
    }

    def timeout(Map limit, Closure body) {
        build.tell(step: 'timeout', time: limit.time, unit: limit.unit)
        return body()
    }

    def dir(String path, Closure body) {
        Path before = build.folder
        build.folder = before.resolve(path)
        Files.createDirectories(build.folder)
        try {
            return body()
        } finally {
            build.folder = before
        }
    }

    def parallel(Map branches) {
        Map results = [:]
        branches.each { name, body ->
            if (name != 'failFast') {
                println "[Pipeline] { (Branch: ${name})"
                results[name] = body()
            }
        }
        return results
    }

    def catchError(Map options = [:], Closure body) {
        try {
            return body()
        } catch (StepFailed e) {
            println "ERROR: ${e.message}"
            build.worse(options.buildResult ?: 'FAILURE')
        }
    }

    def withEnv(List<String> variables, Closure body) {
        Map<String, String> layer = [:]
        variables.each { String v ->
            int at = v.indexOf('=')
            if (at < 1) {
                throw new StepFailed("withEnv: '${v}' is not NAME=VALUE")
            }
            layer[v.substring(0, at)] = v.substring(at + 1)
        }
        build.layers << layer
        try {
            return body()
        } finally {
            build.layers.remove(build.layers.size() - 1)
        }
    }

    Map string(Map m) { [kind: 'string', id: m.credentialsId, variable: m.variable] }

    Map file(Map m) { [kind: 'file', id: m.credentialsId, variable: m.variable] }

    def withCredentials(List<Map> bindings, Closure body) {
        Map<String, String> layer = [:]
        bindings.each { b ->
            String path = build.credentials[b.id]
            if (path == null) {
                throw new StepFailed("Could not find credentials entry with ID '${b.id}'")
            }
            String value = b.kind == 'file' ? path : new File(path).getText('UTF-8').trim()
            layer[b.variable] = value
            build.secrets << value
            build.bound << b.id
        }
        build.layers << layer
        try {
            return body()
        } finally {
            build.layers.remove(build.layers.size() - 1)
            bindings.each { build.bound.remove(it.id) }
        }
    }

    def sh(String script) { sh(script: script) }

    def sh(Map options) {
        Map unknown = options.findAll { !(it.key in ['script', 'label', 'returnStatus', 'returnStdout', 'encoding']) }
        if (unknown) {
            throw new StepFailed("sh has no parameter ${unknown.keySet()}")
        }
        build.tell(step: 'sh', script: options.script, label: options.label ?: '', bound: new ArrayList(build.bound), command: build.environment().AIBUILD_COMMAND ?: '')
        Path file = Files.createTempFile('script', '.sh')
        file.toFile().setText(options.script, 'UTF-8')
        println "+ ${options.label ?: options.script}"
        def process = new ProcessBuilder('/bin/sh', '-xe', file.toString()).directory(build.folder.toFile())
        process.environment().clear()
        process.environment().putAll(build.environment())
        process.redirectErrorStream(!options.returnStdout)
        def running = process.start()
        running.outputStream.close()
        StringBuilder out = new StringBuilder()
        def errors = null
        if (options.returnStdout) {
            errors = Thread.start { running.errorStream.eachLine('UTF-8') { println it } }
        }
        running.inputStream.eachLine('UTF-8') { String line ->
            if (options.returnStdout) {
                out.append(line).append('\n')
            } else {
                println line
            }
        }
        errors?.join()
        int code = running.waitFor()
        Files.delete(file)
        if (options.returnStatus) {
            return code
        }
        if (code != 0) {
            throw new StepFailed("script returned exit code ${code}")
        }
        return options.returnStdout ? out.toString() : null
    }

    void println(Object text) { System.out.println(build.masked(String.valueOf(text))) }

    void echo(String text) { println text }

    void error(String text) { throw new StepFailed(text) }

    void unstable(String text) {
        println "WARNING: ${text}"
        build.tell(step: 'unstable', message: text)
        build.worse('UNSTABLE')
    }

    boolean fileExists(String path) { Files.exists(build.folder.resolve(path)) }

    String readFile(Map m) { build.folder.resolve(m.file).toFile().getText(m.encoding ?: 'UTF-8') }

    void writeFile(Map m) {
        Path path = build.folder.resolve(m.file)
        Files.createDirectories(path.parent)
        path.toFile().setText(m.text, m.encoding ?: 'UTF-8')
    }

    /** As the JUnit plugin does: failed cases make the build unstable. */
    void junit(Map m) {
        Path path = build.folder.resolve(m.testResults)
        if (!Files.exists(path)) {
            if (!m.allowEmptyResults) {
                throw new StepFailed('No test report files were found. Configuration error?')
            }
            build.tell(step: 'junit', file: m.testResults, cases: 0, bad: 0)
            return
        }
        def suites = new XmlSlurper().parse(path.toFile())
        int cases = suites.testsuite.testcase.size()
        int bad = suites.testsuite.testcase.findAll { it.failure.size() + it.error.size() > 0 }.size()
        build.tell(step: 'junit', file: m.testResults, cases: cases, bad: bad)
        if (bad > 0) {
            build.worse('UNSTABLE')
        }
    }

    /** Files below the folder that one of the patterns matches, as Jenkins divides them: by commas. */
    private static List<String> matching(String patterns) {
        List matchers = patterns.split(',').collect { FileSystems.default.getPathMatcher('glob:' + it.replaceAll(/[\\\[\]{}]/, '\\\\$0')) }
        List found = []
        build.folder.toFile().eachFileRecurse(FileType.FILES) { File f ->
            Path name = build.folder.relativize(f.toPath())
            if (matchers.any { it.matches(name) }) {
                found << name.toString()
            }
        }
        return found.sort()
    }

    void archiveArtifacts(Map m) {
        List found = matching(m.artifacts)
        if (!found && !m.allowEmptyArchive) {
            throw new StepFailed("No artifacts found that match the file pattern \"${m.artifacts}\". Configuration error?")
        }
        build.tell(step: 'archiveArtifacts', files: found)
    }

    void stash(Map m) {
        if (m.name.find(/[?*\/\\\\%!@#\$^&|<>\[\]:;]/)) {
            throw new StepFailed("'${m.name}' is an unsafe name for a stash")
        }
        List found = matching(m.includes)
        if (!found && !m.allowEmpty) {
            throw new StepFailed("No files included in stash '${m.name}'")
        }
        build.stashes[m.name] = found.collectEntries { [it, build.folder.resolve(it).toFile().bytes] }
    }

    void unstash(String name) {
        Map files = build.stashes[name]
        if (files == null) {
            throw new StepFailed("No such saved stash '${name}'")
        }
        files.each { String file, byte[] bytes ->
            Path path = build.folder.resolve(file)
            Files.createDirectories(path.parent)
            path.toFile().bytes = bytes
        }
        build.tell(step: 'unstash', name: name)
    }

    void deleteDir() { build.folder.toFile().deleteDir(); Files.createDirectories(build.folder) }

    /** Git's plugin, as far as it goes here. $AFTER_CHECKOUT stands for what is in no repository. */
    Map checkout(Map scm) {
        boolean named = scm.containsKey('userRemoteConfigs') // else it is `checkout scm`
        build.tell(step: 'checkout', scm: named ? scm : [:])
        String url = named ? scm.userRemoteConfigs[0].url : scm.url
        String commit = named ? scm.branches[0].name : scm.commit
        String script = 'git init -q . && git fetch -q "$URL" "+refs/heads/*:refs/remotes/origin/*" && git checkout -q -f "$COMMIT" && git clean -qdff && eval "${AFTER_CHECKOUT:-}"'
        withEnv(['URL=' + url, 'COMMIT=' + commit]) { sh(script: script, label: 'git checkout') }
        return [GIT_COMMIT: commit, GIT_URL: url, GIT_PREVIOUS_SUCCESSFUL_COMMIT: build.variables.GIT_PREVIOUS_SUCCESSFUL_COMMIT]
    }

    void properties(List list) { build.tell(step: 'properties', list: list) }

    Map disableConcurrentBuilds() { [kind: 'disableConcurrentBuilds'] }

    def input(Map m) {
        build.tell(step: 'input', message: m.message)
        return null
    }

    def pipeline(Closure body) { new Declarative(this).run(body) }
}
