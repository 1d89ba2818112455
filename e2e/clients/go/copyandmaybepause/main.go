// Command copyandmaybepause stands in for the program of that name in trust-manager's package images: it copies the
// files of one folder into another, over those that are there: after a node's restart a pod's folders are as they were.
package main

import (
	"log"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: copyandmaybepause FROM TO")
	}
	from, to := os.Args[1], os.Args[2]
	entries, err := os.ReadDir(from)
	if err != nil {
		log.Fatal(err)
	}
	for _, entry := range entries {
		if err := os.RemoveAll(filepath.Join(to, entry.Name())); err != nil {
			log.Fatal(err)
		}
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		log.Fatal(err)
	}
}
