/** Declarative runs what the examples use of the declarative form. */
class Declarative {
    final Steps script
    List stages = []
    Map post = [:]
    Map variables = [:]

    Declarative(Steps script) { this.script = script }

    void run(Closure body) {
        delegated(this, body)
        List all = variables.collect { name, value -> name + '=' + value }
        script.withEnv(all) {
            try {
                stages.each { Stage s -> s.run(script) }
            } catch (StepFailed e) {
                Steps.build.worse('FAILURE')
                throw e
            } finally {
                Stage.after(script, post)
            }
        }
    }

    static delegated(Object to, Closure body) {
        body.delegate = to
        body.resolveStrategy = Closure.DELEGATE_FIRST
        return body()
    }

    def getAny() { 'any' }

    def getNone() { 'none' }

    void agent(where) { Steps.build.tell(step: 'node', label: where.toString()) }

    void agent(Closure body) {
        Map found = [:]
        delegated([label: { String l -> found.label = l }] as Expando, body)
        Steps.build.tell(step: 'node', label: found.label)
    }

    void options(Closure body) {
        delegated(new Expando(timeout: { Map m -> Steps.build.tell(step: 'timeout', time: m.time, unit: m.unit) }, disableConcurrentBuilds: { -> }, skipDefaultCheckout: { -> }), body)
    }

    void parameters(Closure body) {
        delegated(new Expando(string: { Map m -> Steps.build.params.putIfAbsent(m.name, m.defaultValue ?: '') }, booleanParam: { Map m -> }), body)
    }

    void environment(Closure body) {
        Expando into = new Expando()
        body.delegate = into
        body.resolveStrategy = Closure.DELEGATE_FIRST
        body()
        variables.putAll(into.properties.findAll { it.key != 'class' })
    }

    void stages(Closure body) { delegated(this, body) }

    void stage(String name, Closure body) {
        Stage s = new Stage(name: name)
        delegated(s, body)
        stages << s
    }

    void post(Closure body) { Stage.conditions(post, body) }

    static class Stage {
        String name
        Closure steps
        Closure condition
        Map post = [:]

        void agent(where) { Steps.build.tell(step: 'node', label: where.toString()) }

        void steps(Closure body) { steps = body }

        void when(Closure body) { Declarative.delegated(new Expando(expression: { Closure c -> condition = c }), body) }

        void post(Closure body) { conditions(post, body) }

        static void conditions(Map post, Closure body) {
            Declarative.delegated(new Expando(always: { Closure c -> post.always = c }, failure: { Closure c -> post.failure = c }, success: { Closure c -> post.success = c }, unstable: { Closure c -> post.unstable = c }), body)
        }

        static void after(Steps script, Map post) {
            if (post.always) {
                Declarative.delegated(script, post.always)
            }
            Closure one = post[Steps.build.result.toLowerCase()]
            if (one) {
                Declarative.delegated(script, one)
            }
        }

        void run(Steps script) {
            if (condition && !Declarative.delegated(script, condition)) {
                println "Stage \"${name}\" skipped due to when conditional"
                Steps.build.tell(step: 'skipped', name: name)
                return
            }
            script.stage(name) {
                try {
                    Declarative.delegated(script, steps)
                } catch (StepFailed e) {
                    Steps.build.worse('FAILURE')
                    throw e
                } finally {
                    after(script, post)
                }
            }
        }
    }
}
