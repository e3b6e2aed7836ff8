// aibuildChanged gives the images that a checkout would start, as maps with image, folder and from; see
// aibuildChanged.txt. It needs no secret.
List call(Map options = [:]) {
    Map s = aibuildStep.settings(options, [base: ''])
    String list = s.out + '/changed.json'
    Map result = aibuildStep.invoke(s, 'changed', [base: s.base, output: 'json', out: list], [])
    if (result.exit_code != 0) {
        aibuildStep.failed(s, result)
    }
    Map change = aibuildStep.parse(readFile(file: list, encoding: 'UTF-8'))
    return change.images ?: []
}
