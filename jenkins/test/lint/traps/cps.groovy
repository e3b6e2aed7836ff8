import groovy.json.JsonSlurper
import groovy.transform.Field

@Field Map cache = [:] // want: annotation Field

static String shared() { return '' } // want: static method shared

void each(List images) {
    images.each { echo(it) } // want: each with a closure | want: variable it is not declared
    images.collect { String i -> i.trim() } // want: collect with a closure | want: trim, of 0
    images*.size() // want: *. calls behind the back | want: size, of 0
}

void json(String text) {
    Map all = new JsonSlurper().parseText(text) // want: JsonSlurper gives maps
    sh(script: 'true')
}

void matcher(String text) {
    java.util.regex.Matcher m = text =~ /a+/ // want: type java.util.regex.Matcher | want: =~ makes a Matcher
    sh(script: 'true')
}

@NonCPS
String notHere(Map s) {
    echo('x') // want: echo in a method that is @NonCPS
    aibuildStep.take(s) // want: aibuildStep.take in a method that is @NonCPS
    other() // want: other in a method that is @NonCPS
    return ''
}

void other() {
    state = 1 // want: variable state is not declared
    def x = 2 // want: def x
    Iterator i = [].iterator() // want: type Iterator | want: iterator, of 0
    withEnv(['A=b']) { call() } // want: call() in a closure
}

Map call() {
    try {
        sh(script: 'true')
    } catch (Exception e) { // want: catch of Exception
        echo(e.toString()) // want: toString, of 0
    }
    return [:]
}

class Helper { // want: class Helper
    int n // want: field n
}
