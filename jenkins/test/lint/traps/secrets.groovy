void call(Map s) {
    sh("aibuild build ${s.dir}") // want: sh: its text is not constant
    sh(script: 'aibuild build ' + s.dir, returnStatus: true) // want: sh: its text is not constant
    withCredentials([string(credentialsId: 'x', variable: 'X')]) { // want: withCredentials around [sh, sh]
        sh('one')
        sh('two')
    }
    withCredentials([string(credentialsId: 'x', variable: 'X')]) { // want: withCredentials around [stage, sh]
        stage('x') { sh('one') }
    }
    withCredentials([string(credentialsId: 'x', variable: 'X')]) { sh('one') }
}
