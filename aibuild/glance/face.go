package glance

import (
	"context"
	"errors"
)

var errUnwritten = errors.New("not written yet")

// Clouds lists the clusters of a clouds.yaml, sorted.
func Clouds(file string) ([]string, error) { return nil, errUnwritten }

// Plan says what Release would do, changing nothing.
func (r Releaser) Plan(ctx context.Context, img Image, clusters []string) ([]Step, error) {
	return nil, errUnwritten
}

// Release uploads, verifies and shows img in each cluster.
func (r Releaser) Release(ctx context.Context, img Image, clusters []string) ([]Target, error) {
	return nil, errUnwritten
}

// Rollback makes an older (or any other) image of a name the visible one.
func (r Releaser) Rollback(ctx context.Context, to Image, clusters []string) ([]Target, error) {
	return nil, errUnwritten
}

// Revoke hides an image and marks it; successor (or nil) becomes visible first.
func (r Releaser) Revoke(ctx context.Context, uuid string, successor *Image, clusters []string) ([]Target, error) {
	return nil, errUnwritten
}

// Restore takes the mark of Revoke away.
func (r Releaser) Restore(ctx context.Context, uuid string, clusters []string) ([]Target, error) {
	return nil, errUnwritten
}

// Keep deletes old images of a name.
func (r Releaser) Keep(ctx context.Context, keep Retention, clusters []string) ([]Deletion, error) {
	return nil, errUnwritten
}

// Sweep puts right what dead processes left behind under a name.
func (r Releaser) Sweep(ctx context.Context, cluster, name, current string) ([]Target, error) {
	return nil, errUnwritten
}

// Verify compares a cluster with the record.
func (r Releaser) Verify(ctx context.Context, cluster string, want []Expect) ([]Target, error) {
	return nil, errUnwritten
}

// Check finds out whether a cluster can be used, for a doctor.
func (r Releaser) Check(ctx context.Context, cluster string) (Health, error) {
	return Health{}, errUnwritten
}
