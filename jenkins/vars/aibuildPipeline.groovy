// aibuildPipeline is the whole way of an image: checkout, build, test, publish, release; see aibuildPipeline.txt. It gives
// the last stage's result as a map.
Map call(Map options = [:]) {
    Map s = aibuildStep.settings(options, [
        label: 'kvm', timeout: 180, concurrent: true, checkout: true, gitCredentialsId: '', from: '', onTestFailure: 'UNSTABLE', cells: [], clusters: [],
    ])
    if (!options.dir && params.AIBUILD_IMAGE) {
        s.dir = params.AIBUILD_IMAGE
    }
    s.mark = s.dir
    if (!s.concurrent) {
        properties([disableConcurrentBuilds()])
    }
    Map result = [:]
    node(s.label) {
        timeout(time: s.timeout, unit: 'MINUTES') {
            if (s.checkout) {
                stage('Checkout') { source(s) }
            }
            result = way(s)
        }
    }
    return result
}

// source checks out what the daemon names, else what the job has its Jenkinsfile from.
void source(Map s) {
    if (!params.AIBUILD_PROJECT) {
        checkout(scm)
        return
    }
    Map remote = [url: params.AIBUILD_PROJECT, refspec: '+refs/heads/*:refs/remotes/origin/* +refs/tags/*:refs/tags/*']
    if (s.gitCredentialsId) {
        remote.credentialsId = s.gitCredentialsId
    }
    checkout([$class: 'GitSCM', branches: [[name: params.AIBUILD_COMMIT]], userRemoteConfigs: [remote], extensions: [[$class: 'CleanBeforeCheckout']]])
}

// way takes the image through the stages that its run goes through. However it ends, the run is told.
Map way(Map s) {
    Map run = [:]
    stage('Open') { run = aibuildStep.open(s, [from: s.from]) }
    String others = currentBuild.description
    currentBuild.description = (others ? others + ', ' : '') + run.image_name + ' ' + run.image_uuid
    Map result = [:]
    try {
        for (name in run.stages) {
            stage(title(name)) { result = one(s, name) }
            if (result.exit_code != 0) {
                return result // unstable: what did not pass goes nowhere
            }
        }
    } finally {
        aibuildStage.recorded(s, true)
    }
    return result
}

Map one(Map s, String name) {
    switch (name) {
        case 'test':
            return aibuildStage(s, name, [cell: s.cells])
        case 'release':
            return aibuildStage(s, name, [cluster: s.clusters, yes: true])
        default:
            return aibuildStage(s, name, [:])
    }
}

String title(String name) {
    Map titles = [build: 'Build', test: 'Test', publish: 'Publish', release: 'Release']
    return titles[name]
}
