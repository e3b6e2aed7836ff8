// aibuildRecord tells that the run of this build has come to its end; see aibuildRecord.txt.
void call(Map options = [:]) {
    Map s = aibuildStep.settings(options)
    if (!s.run) {
        s.run = s.out + '/run.json'
    }
    if (!aibuildStep.take(s)) {
        echo('aibuild: no run was opened in this build, so none ends')
        return
    }
    aibuildStage.recorded(s, true)
}
