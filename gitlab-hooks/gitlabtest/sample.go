package gitlabtest

import (
	"context"
	"slices"
)

// sampleCommits is how many commits the Test button shows.
const sampleCommits = 3

// samplePush is what the Test button sends: the newest commits of the default branch as a push that nothing marks as a
// test. Its before is the oldest of them. Until 18 they come newest first, and a tag push is a push to the branch.
func (s *Server) samplePush(ctx context.Context, p *project, u *user, tag bool) (*pushPayload, error) {
	branches, err := p.repo.refs(ctx, headsPrefix, "")
	if err != nil {
		return nil, err
	}
	standard, err := p.repo.defaultBranch(ctx, branches)
	if err != nil {
		return nil, err
	}
	if standard == "" {
		return constantSample(s.opts.Profile, tag), nil
	}
	ids, err := p.repo.revList(ctx, sampleCommits, headsPrefix+standard)
	if err != nil {
		return nil, err
	}
	facts := pushFacts{before: ids[len(ids)-1], after: ids[0], ref: headsPrefix + standard, checkout: ids[0], ids: ids, total: len(ids)}
	if s.opts.Profile.atLeast(Current) {
		facts.ids = slices.Clone(ids)
		slices.Reverse(facts.ids)
		if tag {
			if err := p.sampleTag(ctx, &facts); err != nil {
				return nil, err
			}
		}
	}
	return s.payload(ctx, p, u, facts)
}

// sampleTag names the last tag by name; its commit is all that the sample takes from it.
func (p *project) sampleTag(ctx context.Context, facts *pushFacts) error {
	tags, err := p.repo.refs(ctx, tagsPrefix, "")
	if err != nil {
		return err
	}
	facts.ref, facts.checkout = tagsPrefix+"v1.0.0", ""
	if len(tags) == 0 {
		return nil
	}
	facts.ref = tagsPrefix + tags[len(tags)-1].Name
	facts.checkout, err = p.repo.resolve(ctx, facts.ref, "commit")
	return err
}

// constantSample is GitLab's own, for a project without a commit. It is about another project.
func constantSample(profile Profile, tag bool) *pushPayload {
	const avatar = "https://s.gravatar.com/avatar/d4c74594d841139328695756648b6bd6?s=8://s.gravatar.com/avatar/d4c74594d841139328695756648b6bd6?s=80"
	picture, message, email, after := avatar, "Hello World", "john@example.com", "da1560886d4f094c3e6c9ef40349f7d38b5d27d7"
	data := &pushPayload{
		ObjectKind: "push", EventName: "push", Before: "95790bf891e76fee5e1747ab589903a6a1f80f22", After: after,
		Ref: "refs/heads/master", CheckoutSHA: &after, Message: &message,
		UserID: 4, UserName: "John Smith", UserEmail: &email, UserAvatar: avatar, ProjectID: 15,
		Project: payloadProject{
			ID: 15, Name: "gitlab", WebURL: "http://test.example.com/gitlab/gitlab", AvatarURL: &picture,
			GitSSHURL: "git@test.example.com:gitlab/gitlab.git", GitHTTPURL: "http://test.example.com/gitlab/gitlab.git",
			Namespace: "gitlab", Path: "gitlab/gitlab", DefaultBranch: "master",
		},
		Commits: []payloadCommit{{
			ID:      "c5feabde2d8cd023215af4d2ceeb7a64839fc428",
			Message: "Add simple search to projects in public area\n\ncommit message body", Title: "Add simple search to projects in public area",
			Timestamp: "2013-05-13T18:18:08+00:00", URL: "https://test.example.com/gitlab/gitlab/-/commit/c5feabde2d8cd023215af4d2ceeb7a64839fc428",
			Author: payloadAuthor{"Test User", "test@example.com"},
		}},
		Total: 1, PushOptions: map[string]any{"ci": map[string]any{"skip": true}},
	}
	if profile.atLeast(Current) {
		protected := true
		data.RefProtected = &protected
		if tag {
			data.ObjectKind, data.EventName, data.Ref = "tag_push", "tag_push", "refs/tags/v1.0.0"
		}
	}
	return data
}
