package publish

import (
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
)

// expand checks the item and lists the files of folders.
func (item Item) expand() (map[string]string, error) {
	if err := checkImage(Build, item.Name, item.UUID); err != nil {
		return nil, err
	}
	files, err := expandFiles(item.Files)
	if err != nil {
		return nil, err
	}
	if files[item.Image] == "" {
		return nil, fmt.Errorf("put %s: the image %q is not among the files", item.Name, item.Image)
	}
	for name := range item.Data {
		if err := checkFile(name); err != nil {
			return nil, err
		}
		if files[name] != "" {
			return nil, fmt.Errorf("put %s: %s is given twice", item.Name, name)
		}
	}
	if _, given := item.Data[sumsFile]; given || files[sumsFile] != "" {
		return nil, &BadName{"file name", sumsFile, "any other: this one is made here"}
	}
	return files, nil
}

// expandFiles replaces folders by the files in them. Links and devices are refused: their bytes are somewhere else.
func expandFiles(given map[string]string) (map[string]string, error) {
	files := map[string]string{}
	for name, source := range given {
		if err := checkFile(name); err != nil {
			return nil, err
		}
		err := filepath.WalkDir(source, func(full string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			rel, err := filepath.Rel(source, full)
			if err != nil {
				return err
			}
			inside := path.Join(name, filepath.ToSlash(rel))
			if !entry.Type().IsRegular() {
				return fmt.Errorf("%s: not a plain file", full)
			}
			if files[inside] != "" {
				return fmt.Errorf("%s is given twice", inside)
			}
			files[inside] = full
			return checkFile(inside)
		})
		if err != nil {
			return nil, fmt.Errorf("list files to publish: %w", err)
		}
	}
	return files, nil
}
