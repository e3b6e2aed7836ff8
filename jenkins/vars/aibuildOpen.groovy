// aibuildOpen registers the run of this build; see aibuildOpen.txt. It gives what the run goes through, as a map.
Map call(Map options = [:]) {
    Map s = aibuildStep.settings(options, [from: '', image: ''])
    return aibuildStep.open(s, [from: s.from, image: s.image])
}
