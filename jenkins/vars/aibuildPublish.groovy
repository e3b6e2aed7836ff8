// aibuildPublish puts a tested image into images/release; see aibuildPublish.txt. It gives the result as a map.
Map call(Map options = [:]) {
    Map s = aibuildStep.settings(options, [image: ''])
    return aibuildStage(s, 'publish', [:])
}
