import groovy.json.JsonSlurperClassic

void call(Map s) {
    new File('/etc/passwd').text // want: new File | want: property text of something
    'id'.execute() // want: execute, of 0
    System.getenv('HOME') // want: System.getenv, of 1
    jenkins.model.Jenkins.instance.doSafeExit() // want: doSafeExit, of 0 | want: property instance of something | want: property Jenkins of something | want: property model of jenkins | want: variable jenkins is not declared
    currentBuild.rawBuild.delete() // want: currentBuild.rawBuild | want: delete, of 0
    s.getClass().name // want: getClass, of 0 | want: property name of something
    s.class.name // want: property class
    s.@hidden // want: .@ reads fields
    readJSON(file: 'x') // want: step readJSON
    aibuildStep.nothing(s) // want: aibuildStep has no method nothing
    Map all = classic('{}')
    String text = s.name
    text.bytes // want: property bytes of String
    (all as Properties).load(null) // want: cast to Properties | want: load, of 1
    List steps = [this.&echo] // want: .& makes what cannot be kept
}

@NonCPS
Map classic(String text) {
    return new JsonSlurperClassic().parseText(text) // want: new JsonSlurperClassic
}
