package publish_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/guestos/aibuild/aibuild/publish"
)

func ExampleSite_Promote() {
	ctx := context.Background()
	root, err := os.MkdirTemp("", "web-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(root)
	site, err := publish.Open(ctx, publish.Config{Root: root, URL: "https://images.example.com"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer site.Close()

	built := filepath.Join(root, "out.qcow2")
	if err := os.WriteFile(built, []byte("an image"), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	const id = "0199f0a0-0000-7000-8000-000000000001"
	sums, err := site.Put(ctx, publish.Item{Name: "web", UUID: id, Image: "web.qcow2", Files: map[string]string{"web.qcow2": built}})
	fmt.Println(sums.SHA256[:16], err)
	// Its tests pass; then:
	err = site.Promote(ctx, "web", id, map[string][]byte{"image.json": []byte("{}")})
	fmt.Println(site.URL(publish.File{Area: publish.Release, Name: "web", UUID: id, File: "web.qcow2"}), err)
	// Output:
	// a5df3fde7b200c3f <nil>
	// https://images.example.com/images/release/web/0199f0a0-0000-7000-8000-000000000001/web.qcow2 <nil>
}
