// aibuildGate asks whether an image may be used; see aibuildGate.txt. It gives true, or ends the build with the rule
// that the image does not keep, or, with fail: false, gives false.
boolean call(Map options = [:]) {
    Map s = aibuildStep.settings(options, [image: '', published: false, released: false, clusters: [], fail: true])
    Map all = [args: [s.image], cluster: s.clusters]
    if (s.published) {
        all.published = true
    }
    if (s.released) {
        all.released = true
    }
    Map result = aibuildStep.invoke(s, 'gate', all, ['token'])
    if (result.exit_code != 0 && (s.fail || result.exit_code != 5)) {
        aibuildStep.failed(s, result)
    }
    return result.exit_code == 0
}
