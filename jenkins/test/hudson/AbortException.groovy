package hudson

/** AbortException is how Jenkins' steps fail with a message and no more. */
class AbortException extends IOException {
    AbortException(String message) { super(message) }
}
