package jenkins

import (
	"strings"
	"testing"
)

// FuzzConfigXML: whatever is in a config.xml, a change of it can be read again, has what it is to have, and is none the
// second time.
func FuzzConfigXML(f *testing.F) {
	s := Spec{Path: "f/j", Mark: "m", Script: "// m\necho '<&>'", Parameters: []Parameter{{"A", "a"}}, Library: Library{Name: "l", Remote: "r", Version: "v", Path: "p/"}}
	for _, seed := range []string{
		s.JobXML(), s.FolderXML(), plainFolder, "<a/>", "<a b='c'><properties/><definition/></a>", "<?xml version=\"1.1\"?><a>&#x1;&#7;<properties>\r\n</properties></a>",
		"<a><properties><" + librariesClass + "/></properties></a>", "<a><![CDATA[<properties/>]]><properties x='>'/></a>", "<x:a><y:properties/></x:a>", "<a><properties/ ></a>",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		root, err := readXML(text)
		if err != nil {
			return
		}
		for name, change := range map[string]func(string, *element) (string, error){
			"job": func(text string, root *element) (string, error) {
				job := *root
				job.name = pipelineClass
				return s.changedJob(text, &job, true)
			},
			"folder": func(text string, root *element) (string, error) {
				return s.Library.changedFolder("f", text, root, true)
			},
		} {
			after, err := change(text, root)
			if err != nil {
				continue
			}
			again, err := readXML(after)
			if err != nil {
				t.Fatalf("%s: %v in\n%s\nmade of\n%s", name, err, after, text)
			}
			if second, err := change(after, again); err != nil || second != after {
				t.Errorf("%s: the second time it is\n%s\nnot\n%s, %v", name, second, after, err)
			}
			if name == "folder" && !strings.Contains(after, "<defaultVersion>v</defaultVersion>") && after != text {
				t.Errorf("the library is not in\n%s", after)
			}
		}
	})
}
