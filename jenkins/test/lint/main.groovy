// main.groovy looks into sources for what Jenkins would refuse; see Lint.
//
//   groovy -cp jenkins/test jenkins/test/lint/main.groovy FILE...
//
// It prints FILE:LINE: what is wrong. Files of vars are held to all rules; others, which are Jenkinsfiles, may be declarative.

import lint.Lint
import lint.Rules

File here = new File(getClass().protectionDomain.codeSource.location.toURI()).parentFile
Map library = new File(here.parentFile.parentFile, 'vars').listFiles().findAll { it.name.endsWith('.groovy') }.collectEntries {
    [it.name - '.groovy', Lint.parse(it.name, it.getText('UTF-8')).classes.collectMany { c -> c.methods*.name } as Set]
}
Rules rules = new Rules(here)
List all = args.collectMany { String name ->
    String text = new File(name).getText('UTF-8').replaceAll(/(?m)^@Library\(.*$/, '')
    new Lint(rules, library, name, Lint.parse(new File(name).name.replaceAll(/\W/, '_') + '.groovy', text), name.endsWith('.groovy')).run()
}
all.each { println it }
System.exit(all ? 1 : 0)
