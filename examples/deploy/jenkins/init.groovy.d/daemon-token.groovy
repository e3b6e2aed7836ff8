// The daemon's user gets the api token of the secret jenkins-token (11 and 32 hexadecimal digits), so that nobody has to
// make one by hand and copy it.
import hudson.model.User
import jenkins.security.ApiTokenProperty

File secret = new File('/run/secrets/jenkins-token')
if (secret.exists()) {
    User user = User.getById('aibuild', true)
    ApiTokenProperty property = user.getProperty(ApiTokenProperty)
    if (property == null) {
        property = new ApiTokenProperty()
        user.addProperty(property)
    }
    property.tokenStore.revokeAllTokens()
    property.tokenStore.addFixedNewToken('aibuild', secret.text.trim())
    user.save()
}
