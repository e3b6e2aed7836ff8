// aibuildBuild builds an image; see aibuildBuild.txt. It gives the result as a map.
Map call(Map options = [:]) {
    return aibuildStage(aibuildStep.settings(options), 'build', [:])
}
