// aibuildTest boots an image in its cells and runs its cases; see aibuildTest.txt. It gives the result as a map.
Map call(Map options = [:]) {
    Map s = aibuildStep.settings(options, [image: '', cells: [], keepOnFailure: false, onTestFailure: 'UNSTABLE'])
    Map more = [cell: s.cells]
    if (s.keepOnFailure) {
        more['keep-on-failure'] = true
    }
    return aibuildStage(s, 'test', more)
}
