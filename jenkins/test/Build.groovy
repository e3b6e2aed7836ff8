import java.nio.file.Path

/** What a build has, for all scripts of it. */
class Build {
    Map<String, String> variables = [:]
    List<Map<String, String>> layers = []      // of withEnv and withCredentials, the last one counts most
    Set<String> secrets = new LinkedHashSet<>()
    List<String> bound = []                    // credentials at work now
    Map<String, String> credentials = [:]      // id -> path of the file that holds it
    Map<String, String> params = [:]
    Path workspace
    Path folder                                // that dir() leads to
    String result = 'SUCCESS'
    String description = ''
    List<Map> events = []
    Map<String, Object> vars = [:]
    Map<String, Map<String, byte[]>> stashes = [:]
    def scm = null

    synchronized void tell(Map event) { events << event }

    Map<String, String> environment() {
        Map<String, String> all = new LinkedHashMap<>(variables)
        layers.each { all.putAll(it) }
        all.WORKSPACE = workspace.toString()
        return all
    }

    String masked(String text) {
        secrets.inject(text) { String t, String secret -> secret ? t.replace(secret, '****') : t }
    }

    void worse(String to) {
        List order = ['SUCCESS', 'UNSTABLE', 'FAILURE', 'ABORTED']
        if (order.indexOf(to) > order.indexOf(result)) {
            result = to
        }
    }
}
