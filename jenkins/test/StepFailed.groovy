/** StepFailed is a step that has failed; it ends the build unless something catches it. */
class StepFailed extends hudson.AbortException {
    StepFailed(String message) { super(message) }
}
