// Package aibuild turns an image definition, a folder with aibuild.yaml, a
// Packer template and test cases, into a GuestOS image that was built, booted,
// tested, published on a web server and released to OpenStack clusters.
//
// # When to use it
//
// Use [Pipeline] for the whole way or one of its stages:
//
//	site, err := publish.Open(ctx, publish.Config{Root: "/srv/www", URL: "http://images.example"})
//	p := aibuild.Pipeline{Site: site, DataDir: "/var/lib/aibuild", CloudsFile: "/etc/openstack/clouds.yaml"}
//	image, err := p.Run(ctx, aibuild.RunOptions{Build: aibuild.BuildOptions{Dir: "images/debian-12"}})
//
// Who needs one part only imports that room: harness boots and tests any disk
// image, glance releases any file, packer runs any template. None of them drags
// in a database driver.
//
// # Stages
//
// Build, Test, Publish and Release are idempotent per image and can each be
// repeated alone, in another process or on another machine: they meet in
// manifest.json beside the image's file on the web root, which is also the
// journal of what happened. A failed stage never costs the stages before it.
// What a [Recorder] cannot take at the moment stays in the manifest and is
// delivered by [Pipeline.Deliver].
//
// # Units, times, errors
//
// Sizes are bytes, times UTC. Every error of a stage is an *[Error] with the
// stage, whose fault it is, an exit code and a hint; errors.As also reaches the
// typed error of the room that failed. Cancelling the context stops whatever
// runs and cleans up.
//
// # Rules
//
// A Pipeline has no global state, installs nothing, never exits, is silent
// without a Log, is safe for concurrent use (one name's images are published
// and released one after the other), and works without a Recorder.
//
// # Stability
//
// The exported names of this package and of definition, packer, qemu, harness,
// publish, glance and lineage only grow. privatedb and process serve the others
// and may change.
package aibuild
