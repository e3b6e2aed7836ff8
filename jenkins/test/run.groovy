// run.groovy runs Jenkinsfiles under plain Groovy, with the library of ../vars and steps that really do what they say:
//
//   jenkins/test/run [--credentials FOLDER] [--events FILE] [--parameter NAME] [--env NAME=VALUE] JENKINSFILE...
//
// The workspace is $WORKSPACE, else the working folder. A file of the credentials' folder is the credential of that id.
// Parameters of the job are the variables that --parameter names; --env changes the environment of what follows it, and
// an empty value takes the variable away. `checkout scm` is of $SCM_URL at $SCM_COMMIT. Each Jenkinsfile is a build of its
// own; the exit status is that of the last: 0, 3 when it is unstable, 1 when it failed. What the steps did is written to
// --events, as JSON.

import groovy.json.JsonOutput
import java.nio.file.Paths
import org.codehaus.groovy.control.CompilerConfiguration
import org.codehaus.groovy.control.customizers.ImportCustomizer

class Library {
    static final GroovyShell shell = new GroovyShell(Library.classLoader, new Binding(), configuration())

    private static CompilerConfiguration configuration() {
        CompilerConfiguration c = new CompilerConfiguration()
        c.scriptBaseClass = 'Steps'
        c.addCompilationCustomizers(new ImportCustomizer().addImports('NonCPS'))
        return c
    }

    static Map load(File folder) {
        Map vars = [:]
        folder.listFiles().findAll { it.name.endsWith('.groovy') }.sort().each { File f ->
            vars[f.name - '.groovy'] = shell.parse(f)
        }
        return vars
    }

    // A library is there without being loaded; its annotation says so to Jenkins only.
    static Script jenkinsfile(File f) {
        shell.parse(f.getText('UTF-8').replaceAll(/(?m)^@Library\(.*$/, ''), f.name.replaceAll(/\W/, '_') + '.groovy')
    }
}

/** run is one build; it gives what became of it. */
Map run(File file, Build build) {
    Steps.build = build
    String problem = ''
    long began = System.nanoTime()
    try {
        Library.jenkinsfile(file).run()
    } catch (StepFailed e) {
        problem = e.message
        build.worse('FAILURE')
        println "ERROR: ${build.masked(e.message)}"
    }
    println "Finished: ${build.result}"
    return [file: file.path, result: build.result, error: problem, description: build.description, ms: (System.nanoTime() - began).intdiv(1000000), events: build.events]
}

File here = new File(getClass().protectionDomain.codeSource.location.toURI()).parentFile
Map vars = Library.load(new File(here.parentFile, 'vars'))
Map variables = new LinkedHashMap(System.getenv())
Map options = [events: '', credentials: '']
List parameters = []
List all = []
Iterator words = args.iterator()
while (words.hasNext()) {
    String word = words.next()
    switch (word) {
        case '--parameter':
            parameters << words.next()
            break
        case '--env':
            def (name, value) = words.next().split('=', 2)
            variables[name] = value
            break
        case ['--events', '--credentials']:
            options[word.substring(2)] = words.next()
            break
        default:
            Build build = new Build(variables: variables.findAll { it.value }, vars: vars)
            build.workspace = build.folder = Paths.get(variables.WORKSPACE ?: '.').toAbsolutePath().normalize()
            build.workspace.toFile().mkdirs()
            parameters.each { build.params[it] = variables[it] ?: '' }
            if (options.credentials) {
                new File(options.credentials).listFiles().each { build.credentials[it.name] = it.absolutePath }
            }
            if (variables.SCM_URL) {
                build.scm = [url: variables.SCM_URL, commit: variables.SCM_COMMIT]
            }
            all << run(new File(word), build)
    }
}
if (options.events) {
    new File(options.events).setText(JsonOutput.toJson(all), 'UTF-8')
}
System.exit([SUCCESS: 0, UNSTABLE: 3].getOrDefault(all ? all[-1].result : '', 1))
