/** CurrentBuild is what a Pipeline knows of its own build, and the little that it may set. */
class CurrentBuild {
    private final Build build

    CurrentBuild(Build build) { this.build = build }

    String getResult() { build.result }

    String getCurrentResult() { build.result }

    int getNumber() { build.variables.BUILD_NUMBER as int }

    String getDescription() { build.description }

    void setDescription(String text) { build.description = text }

    /** Who has started the build is in $JENKINS_USER_ID here. */
    List getBuildCauses(String type) {
        String user = build.variables.JENKINS_USER_ID
        return type == 'hudson.model.Cause$UserIdCause' && user ? [[_class: type, userId: user]] : []
    }

    void setResult(String result) { build.worse(result) }
}
