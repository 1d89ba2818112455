// Command copyandmaybepause stands in for the program of that name in trust-manager's package images: it copies the
// files of one folder into another.
package main

import (
	"log"
	"os"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: copyandmaybepause FROM TO")
	}
	if err := os.CopyFS(os.Args[2], os.DirFS(os.Args[1])); err != nil {
		log.Fatal(err)
	}
}
