package lint

import org.codehaus.groovy.ast.CodeVisitorSupport
import org.codehaus.groovy.ast.expr.Expression
import org.codehaus.groovy.ast.expr.MethodCallExpression

/** Calls are the methods that some code calls, in its order. */
class Calls extends CodeVisitorSupport {
    final List<String> names = []

    Calls(Expression code) { code.visit(this) }

    void visitMethodCallExpression(MethodCallExpression call) {
        names << call.methodAsString
        super.visitMethodCallExpression(call)
    }
}
