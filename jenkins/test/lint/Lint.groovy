package lint

import org.codehaus.groovy.ast.ClassCodeVisitorSupport
import org.codehaus.groovy.ast.ClassNode
import org.codehaus.groovy.ast.MethodNode
import org.codehaus.groovy.ast.ModuleNode
import org.codehaus.groovy.ast.expr.*
import org.codehaus.groovy.ast.stmt.*
import org.codehaus.groovy.control.CompilationUnit
import org.codehaus.groovy.control.Phases
import org.codehaus.groovy.control.SourceUnit
import org.codehaus.groovy.syntax.Types

/**
 * Lint finds what plain Groovy takes and Jenkins does not: what its sandbox refuses, what cannot be kept over a step, and
 * what this library has for rules. It reads sources as they are written, so it knows only the types that they name.
 */
class Lint extends ClassCodeVisitorSupport {
    static final Set<String> KEPT = ['Map', 'List', 'String', 'int', 'boolean', 'void', 'java.lang.Object', 'Object'] as Set
    static final Set<String> GLOBALS = ['params', 'env', 'currentBuild', 'scm', 'this'] as Set
    static final Set<String> DECLARATIVE = ['pipeline', 'agent', 'label', 'options', 'parameters', 'stages', 'steps', 'when', 'expression', 'post', 'always'] as Set

    final Rules rules
    final Map<String, Set<String>> library // methods of each of its scripts
    final String file
    final ModuleNode module
    final boolean inLibrary
    final List<String> found = []
    final Set<String> own          // methods of this script
    final Set<String> plain        // those that are @NonCPS

    private Map<String, String> variables = [:] // of the method, with their types
    private boolean nonCPS
    private int closures

    Lint(Rules rules, Map library, String file, ModuleNode module, boolean inLibrary) {
        this.rules = rules
        this.library = library
        this.file = file
        this.module = module
        this.inLibrary = inLibrary
        List methods = module.classes.collectMany { it.methods }
        own = methods*.name as Set
        plain = methods.findAll { isPlain(it) }*.name as Set
    }

    static ModuleNode parse(String name, String text) {
        CompilationUnit unit = new CompilationUnit()
        unit.addSource(name, text)
        unit.compile(Phases.CONVERSION)
        return unit.AST.modules[0]
    }

    static boolean isPlain(MethodNode m) { m.annotations.any { it.classNode.nameWithoutPackage == 'NonCPS' } }

    List<String> run() {
        module.classes.each { ClassNode c ->
            if (!c.script) {
                tell(c, "class ${c.name}: a script of the library has no classes")
            }
            c.fields.each { tell(it, "field ${it.name}: state is lost when Jenkins restarts, or is kept when it should not be") }
            c.methods.findAll { it.name != 'main' && !(it.name == 'run' && c.script) }.each { method(it) }
        }
        variables = [:]
        declare(module.statementBlock)
        module.statementBlock.visit(this)
        return found.sort { it.replaceFirst(/^.*?:(\d+):.*/, '$1') as int }
    }

    private void method(MethodNode m) {
        if (m.static) {
            tell(m, "static method ${m.name}: it cannot use steps")
        }
        m.annotations.findAll { it.classNode.nameWithoutPackage != 'NonCPS' }.each { tell(it, "annotation ${it.classNode.name}") }
        nonCPS = isPlain(m)
        variables = m.parameters.collectEntries { [it.name, it.type.name] }
        keeps(m, m.returnType.name)
        m.parameters.each { keeps(it, it.type.name) }
        declare(m.code)
        m.parameters.each { it.initialExpression?.visit(this) }
        m.code.visit(this)
        nonCPS = false
    }

    /** declare notes the variables of a method and of its closures. */
    private void declare(Statement code) {
        Map into = variables
        code.visit(new ClassCodeVisitorSupport() {
            SourceUnit getSourceUnit() { null }

            void visitDeclarationExpression(DeclarationExpression e) {
                if (e.leftExpression instanceof VariableExpression) {
                    into[e.variableExpression.name] = e.variableExpression.originType.name
                }
                super.visitDeclarationExpression(e)
            }

            void visitForLoop(ForStatement loop) {
                into[loop.variable.name] = 'Object'
                super.visitForLoop(loop)
            }

            void visitCatchStatement(CatchStatement c) {
                into[c.variable.name] = c.exceptionType.name
                super.visitCatchStatement(c)
            }

            void visitClosureExpression(ClosureExpression c) {
                c.parameters?.each { into[it.name] = it.type.name }
                super.visitClosureExpression(c)
            }
        })
    }

    SourceUnit getSourceUnit() { null }

    void tell(node, String what) { found << "${file}:${node.lineNumber}: ${what}".toString() }

    private void keeps(node, String type) {
        if (!nonCPS && !(type in KEPT)) {
            tell(node, "type ${type}: it cannot be kept over a step; use Map, List, String, int or boolean")
        }
    }

    // ------------------------------------------------------------------------------------------------ calls

    void visitMethodCallExpression(MethodCallExpression call) {
        String name = call.methodAsString
        if (name == null) {
            tell(call, 'a method whose name is computed')
        } else if (call.implicitThis) {
            onThis(call, name)
        } else {
            onOther(call, name)
        }
        if (call.spreadSafe) {
            tell(call, '*. calls behind the back of Jenkins; use for')
        }
        super.visitMethodCallExpression(call)
    }

    private void onThis(MethodCallExpression call, String name) {
        if (name == 'call' && closures > 0) {
            tell(call, "call() in a closure is the closure's own; give the method another name")
        }
        if (nonCPS && !(name in plain)) {
            tell(call, "${name} in a method that is @NonCPS: Jenkins cannot stop there")
        }
        if (name in own) {
            return
        }
        if (library[name]?.contains('call') || name in rules.steps || !inLibrary && name in DECLARATIVE) {
            ofLibrary(call, name)
            return
        }
        tell(call, "step ${name}: none of the plugins that the library needs has it")
    }

    /** ofLibrary has the rules that are the library's own. */
    private void ofLibrary(MethodCallExpression call, String name) {
        if (name == 'sh') {
            MapExpression options = mapOf(call)
            Expression script = options ? options.mapEntryExpressions.find { it.keyExpression.text == 'script' }?.valueExpression : call.arguments.expressions[0]
            if (!(script instanceof ConstantExpression)) {
                tell(call, 'sh: its text is not constant, so what somebody chose can become a program')
            }
        }
        if (name == 'withCredentials') {
            List inside = new Calls(call.arguments.expressions[-1]).names
            if (inside != ['sh']) {
                tell(call, "withCredentials around ${inside}: secrets are bound around one sh and nothing else")
            }
        }
    }

    private static MapExpression mapOf(MethodCallExpression call) {
        Expression e = call.arguments
        if (e instanceof TupleExpression) {
            e = e.expressions ? e.expressions[0] : null
        }
        return e instanceof MapExpression ? e : null
    }

    private void onOther(MethodCallExpression call, String name) {
        Expression on = call.objectExpression
        String variable = on instanceof VariableExpression ? on.name : ''
        int arguments = call.arguments instanceof TupleExpression ? call.arguments.expressions.size() : 1
        if (variable in library.keySet()) {
            if (nonCPS) {
                tell(call, "${variable}.${name} in a method that is @NonCPS: Jenkins cannot stop there")
            }
            if (!(name in library[variable])) {
                tell(call, "${variable} has no method ${name}")
            }
            return
        }
        if (variable && !(variable in variables.keySet()) && Character.isUpperCase(variable.charAt(0))) {
            if (!rules.allows('staticMethod', resolved(variable), name, arguments)) {
                tell(call, "${variable}.${name}, of ${arguments}: the sandbox refuses it")
            }
            return
        }
        if (!nonCPS && call.arguments instanceof TupleExpression && call.arguments.expressions.any { it instanceof ClosureExpression }) {
            tell(call, "${name} with a closure: Jenkins does not get back into it after a step; use for")
            return
        }
        if (!rules.allows('method', '', name, arguments)) {
            tell(call, "${name}, of ${arguments}: the sandbox refuses it, or nobody has looked")
        }
    }

    void visitConstructorCallExpression(ConstructorCallExpression call) {
        String type = resolved(call.type.name)
        if (!rules.allows('new', type, '', call.arguments.expressions.size())) {
            tell(call, "new ${call.type.name}: the sandbox refuses it, or nobody has looked")
        } else if (type.startsWith('groovy.json.JsonSlurper') && !nonCPS) {
            tell(call, 'JsonSlurper gives maps that cannot be kept over a step; use it in a method that is @NonCPS, and copy them')
        }
        super.visitConstructorCallExpression(call)
    }

    /** resolved is a type's whole name. */
    private String resolved(String name) {
        module.getImportType(name)?.name ?: [String: 'java.lang.String', ArrayList: 'java.util.ArrayList'][name] ?: name
    }

    void visitStaticMethodCallExpression(StaticMethodCallExpression call) {
        tell(call, "${call.method}: a static call")
        super.visitStaticMethodCallExpression(call)
    }

    void visitMethodPointerExpression(MethodPointerExpression e) {
        tell(e, '.& makes what cannot be kept over a step')
        super.visitMethodPointerExpression(e)
    }

    // ------------------------------------------------------------------------------------- variables, properties

    void visitDeclarationExpression(DeclarationExpression e) {
        e.annotations.each { tell(it, "annotation ${it.classNode.name}: state is lost when Jenkins restarts, or is kept when it should not be") }
        if (e.leftExpression instanceof VariableExpression) {
            VariableExpression v = e.variableExpression
            if (v.dynamicTyped) {
                tell(e, "def ${v.name}: say its type")
            } else {
                keeps(e, v.originType.name)
            }
        }
        super.visitDeclarationExpression(e)
    }

    void visitVariableExpression(VariableExpression v) {
        if (!(v.name in variables.keySet()) && !(v.name in GLOBALS) && !library.containsKey(v.name) && !Character.isUpperCase(v.name.charAt(0))) {
            tell(v, "variable ${v.name} is not declared: it would be the script's own, and its state")
        }
    }

    void visitPropertyExpression(PropertyExpression p) {
        if (p.spreadSafe) {
            tell(p, '*. calls behind the back of Jenkins; use for')
        }
        String name = p.propertyAsString
        String type = typeOf(p.objectExpression)
        if (name == null || name == 'class' || name == 'metaClass') {
            tell(p, "property ${name}: the sandbox refuses it")
        } else if (type == 'currentBuild') {
            if (!rules.allowsProperty(name)) {
                tell(p, "currentBuild.${name}: the sandbox refuses it, or nobody has looked")
            }
        } else if (type == 'hudson.AbortException') {
            if (name != 'message') {
                tell(p, "${name} of an exception: the sandbox refuses it, or nobody has looked")
            }
        } else if (!(type in ['Map', 'params', 'env'])) {
            tell(p, "property ${name} of ${type ?: 'something'}: only maps have properties here")
        }
        super.visitPropertyExpression(p)
    }

    /** typeOf is what a property is taken of; an element of a map or a list may be a map again. */
    private String typeOf(Expression e) {
        if (e instanceof VariableExpression) {
            String type = variables[e.name]
            return type == null ? e.name : type == 'Object' || type == 'java.lang.Object' ? 'Map' : type
        }
        if (e instanceof PropertyExpression) {
            return typeOf(e.objectExpression) == 'Map' ? 'Map' : ''
        }
        if (e instanceof BinaryExpression && e.operation.type == Types.LEFT_SQUARE_BRACKET) {
            return typeOf(e.leftExpression) in ['Map', 'List'] ? 'Map' : ''
        }
        return e instanceof MapExpression ? 'Map' : ''
    }

    void visitAttributeExpression(AttributeExpression e) {
        tell(e, '.@ reads fields: the sandbox refuses it')
        super.visitAttributeExpression(e)
    }

    // --------------------------------------------------------------------------------------------- the rest

    void visitBinaryExpression(BinaryExpression e) {
        if (e.operation.type == Types.FIND_REGEX && !nonCPS) {
            tell(e, '=~ makes a Matcher, which cannot be kept over a step')
        }
        super.visitBinaryExpression(e)
    }

    void visitCastExpression(CastExpression e) {
        if (!(e.type.name in KEPT)) {
            tell(e, "cast to ${e.type.name}")
        }
        super.visitCastExpression(e)
    }

    void visitCatchStatement(CatchStatement c) {
        if (c.exceptionType.name != 'hudson.AbortException') {
            tell(c, "catch of ${c.exceptionType.name}: it would swallow that somebody stops the build")
        }
        super.visitCatchStatement(c)
    }

    void visitClosureExpression(ClosureExpression c) {
        closures++
        super.visitClosureExpression(c)
        closures--
    }
}
