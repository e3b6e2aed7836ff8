// Command pipeline takes one image definition through all stages with the
// library: build, test, publish and, where it names clusters, release.
//
//	pipeline DIR WEBROOT STATE
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/guestos/aibuild/aibuild"
	"github.com/guestos/aibuild/aibuild/publish"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: pipeline DIR WEBROOT STATE")
	}
	ctx := context.Background()
	site, err := publish.Open(ctx, publish.Config{Root: os.Args[2]})
	if err != nil {
		log.Fatal(err)
	}
	p := aibuild.Pipeline{Site: site, DataDir: os.Args[3], CloudsFile: os.Getenv("OS_CLIENT_CONFIG_FILE")}
	img, err := p.Run(ctx, aibuild.RunOptions{Build: aibuild.BuildOptions{Dir: os.Args[1]}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(img.UUID, img.Artifact().SHA256, img.Tested().TestCase)
}
