// aibuildRelease uploads a published image to its OpenStack clusters; see aibuildRelease.txt. It gives the result as a map.
Map call(Map options = [:]) {
    Map s = aibuildStep.settings(options, [image: '', clusters: [], reason: ''])
    return aibuildStage(s, 'release', [cluster: s.clusters, reason: s.reason, yes: true])
}
