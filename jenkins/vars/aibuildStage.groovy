// aibuildStage is one stage of a run. Build and test run code of the image: nothing is bound to them. Where such a step
// stands alone it opens a run before, and ends it after.
Map call(Map s, String stage, Map options) {
    boolean foreign = stage == 'build' || stage == 'test'
    boolean alone = !s.run && foreign
    if (alone) {
        aibuildStep.open(s, stage == 'build' ? [only: stage] : [only: stage, from: stage, image: s.image])
    }
    if (!s.run && !s.image) {
        error('aibuild: ' + stage + ' needs to know which image: give image, or run of aibuildOpen')
    }
    Map all = [run: s.run]
    if (s.run) {
        aibuildStep.take(s)
    }
    if (foreign) {
        all.putAll([junit: s.out + '/' + stage + '.xml', archive: s.out + '/archive'])
    }
    if (stage == 'build') {
        all.args = [s.dir]
    } else if (s.image) {
        all.args = [s.image]
    }
    all.putAll(options)
    Map result = [:]
    try {
        result = aibuildStep.invoke(s, stage, all, foreign ? [] : (stage == 'release' ? ['token', 'clouds'] : ['token']))
        if (s.run) {
            aibuildStep.keep(s)
        }
    } finally {
        if (foreign) {
            recorded(s, alone)
            aibuildStep.reports(s, stage)
        }
    }
    if (result.exit_code != 0) {
        aibuildStep.failed(s, result)
    }
    return result
}

// recorded delivers the journals. That nobody takes them now is told, and no failure: they wait.
void recorded(Map s, boolean end) {
    Map record = aibuildStep.record(s, end)
    if (record.exit_code != 0) {
        echo('aibuild: what happened is journalled, and not recorded yet: ' + (record.error ? record.error.message : record.exit_code))
    }
}
