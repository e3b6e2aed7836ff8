package lint

/** Rules are what may be called: steps, by their names, and methods, by what the sandbox lets pass. */
class Rules {
    final Set<String> steps = [] as Set
    private final List<List<String>> lines

    Rules(File folder) {
        texts(folder, 'steps').each { steps.addAll(it.split(' ')) }
        lines = texts(folder, 'whitelist')*.tokenize(' ')
    }

    private static List<String> texts(File folder, String name) {
        new File(folder, name).readLines('UTF-8').findAll { it && !it.startsWith('#') }
    }

    /** allows says whether a line is there: an empty type is any. new has no name. */
    boolean allows(String kind, String type, String name, int arguments) {
        int words = (kind == 'new' ? 2 : 3) + arguments
        return lines.any { it[0] == kind && (!type || it[1] == type) && (kind == 'new' || it[2] == name) && it.size() == words }
    }

    /** allowsProperty is about a build's. */
    boolean allowsProperty(String name) {
        lines.any { it[0] == 'method' && it[1].endsWith('.RunWrapper') && it[2] == 'get' + name.capitalize() }
    }
}
