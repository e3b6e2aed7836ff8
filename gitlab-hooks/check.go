package hooks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/xanzy/go-gitlab"

	"github.com/guestos/aibuild/aibuild/process"
)

// Health is a GitLab that answers, and what the token is.
type Health struct {
	Version  string // like 19.2.0-ee
	Revision string
	User     string // user name of the token's owner; a bot's for project and group tokens
	Scopes   []string
	Expires  time.Time // midnight UTC of its last day; zero means never, or not told
	// ScopesKnown is false where GitLab does not tell (before 15.5, and for tokens that are not access tokens).
	ScopesKnown bool
}

// Check logs in and reads what the token may do. A nil error means that the URL is that of GitLab, that the token
// is right, and, where GitLab tells, that it has the scope "api". When only the scope is missing, Health
// is filled beside an ErrForbidden.
func (c Client) Check(ctx context.Context) (Health, error) {
	const login = "log in"
	api, err := c.api(login)
	if err != nil {
		return Health{}, err
	}
	version, response, err := api.Version.GetVersion(gitlab.WithContext(ctx))
	if err != nil {
		return Health{}, c.failure(login, response, err)
	}
	if version.Version == "" {
		return Health{}, c.failure(login, response, errors.New("no version in the answer"))
	}
	user, response, err := api.Users.CurrentUser(gitlab.WithContext(ctx))
	if err != nil {
		return Health{}, c.failure("read the token's user", response, err)
	}
	health := Health{Version: version.Version, Revision: version.Revision, User: user.Username}
	return health, c.scopes(ctx, api, &health)
}

// oldestGit is the first that can be told not to fetch what a partial repository lacks; see gitEnviron.
var oldestGit = []int{2, 39, 4}

var gitVersion = regexp.MustCompile(`\d+(\.\d+)+`)

// CheckGit reads the version of the git on this machine. It is an error when that is too old for the mirrors.
func CheckGit(ctx context.Context) (version string, err error) {
	result, err := process.Cmd{Path: "git", Args: []string{"version"}, Timeout: 10 * time.Second}.Run(ctx)
	if errors.Is(err, process.ErrNotFound) {
		return "", fmt.Errorf("%w; apt-get install git", err)
	} else if err != nil {
		return "", fmt.Errorf("git version: %w", err)
	}
	version = gitVersion.FindString(string(result.Stdout))
	var parts []int
	for part := range strings.SplitSeq(version, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return "", fmt.Errorf("git version: it says %q; install git 2.39.4 or later", clip(string(result.Stdout)))
		}
		parts = append(parts, n)
	}
	if slices.Compare(parts, oldestGit) < 0 {
		return version, fmt.Errorf("git %s is too old for the mirrors of projects; install git 2.39.4 or later", version)
	}
	return version, nil
}

// scopes fills in what GitLab tells of the token. That it does not tell is no error.
//
//lint:ignore SA1019 the design fixes this library; its successor is a change of this room alone
func (c Client) scopes(ctx context.Context, api *gitlab.Client, health *Health) error {
	const op = "read the token's scopes"
	token, response, err := api.PersonalAccessTokens.GetSinglePersonalAccessToken(gitlab.WithContext(ctx))
	if response != nil && slices.Contains([]int{http.StatusNotFound, http.StatusBadRequest}, response.StatusCode) {
		return nil
	}
	if err != nil {
		return c.failure(op, response, err)
	}
	health.Scopes, health.ScopesKnown = token.Scopes, true
	if token.ExpiresAt != nil {
		health.Expires = time.Time(*token.ExpiresAt)
	}
	if !slices.Contains(token.Scopes, "api") {
		return &Error{Op: op, URL: strings.TrimRight(c.URL, "/"), Reason: ErrForbidden,
			Detail: fmt.Sprintf("it has %s, not api", strings.Join(token.Scopes, ", ")),
			Hint:   "make an access token with the scope api: commit statuses need it"}
	}
	return nil
}
