// Encode times what trust-manager does with a bundle, over the public modules that it uses.
//
// Usage: encode <PEM file> <row> <runs>; prints the nanoseconds of each run, one line each. The rows are those of the
// benchmark "encode", which starts this program.
package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"log"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"software.sslmate.com/src/go-pkcs12"
)

const password = "changeit"

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: encode <PEM file> <row> <runs>")
	}
	text, err := os.ReadFile(os.Args[1])
	check(err)
	runs, err := strconv.Atoi(os.Args[3])
	check(err)
	roots := parse(text)
	work, known := map[string]func(){
		"parse":                 func() { parse(text) },
		"PEM":                   func() { writePEM(roots) },
		"JKS":                   func() { writeJKS(roots) },
		"PKCS#12 LegacyRC2":     func() { writePKCS12(roots, pkcs12.LegacyRC2, password) },
		"PKCS#12 LegacyDES":     func() { writePKCS12(roots, pkcs12.LegacyDES, password) },
		"PKCS#12 Modern2023":    func() { writePKCS12(roots, pkcs12.Modern2023, password) },
		"PKCS#12 password-less": func() { writePKCS12(roots, pkcs12.Passwordless, "") },
	}[os.Args[2]]
	if !known {
		log.Fatalf("no such row: %s", os.Args[2])
	}
	for range runs {
		start := time.Now()
		work()
		fmt.Println(time.Since(start).Nanoseconds())
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// parse reads the certificates and puts them in the order of their fingerprints, each once.
func parse(text []byte) []*x509.Certificate {
	found := map[[32]byte]*x509.Certificate{}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		root, err := x509.ParseCertificate(block.Bytes)
		check(err)
		found[sha256.Sum256(root.Raw)] = root
	}
	order := make([][32]byte, 0, len(found))
	for fingerprint := range found {
		order = append(order, fingerprint)
	}
	slices.SortFunc(order, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	roots := make([]*x509.Certificate, 0, len(order))
	for _, fingerprint := range order {
		roots = append(roots, found[fingerprint])
	}
	return roots
}

func writePEM(roots []*x509.Certificate) string {
	var out bytes.Buffer
	for _, root := range roots {
		check(pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Raw}))
	}
	return string(bytes.TrimSpace(out.Bytes()))
}

func alias(root *x509.Certificate) string {
	fingerprint := sha256.Sum256(root.Raw)
	return hex.EncodeToString(fingerprint[:])[:8] + "|" + root.Subject.String()
}

func writeJKS(roots []*x509.Certificate) []byte {
	store := keystore.New(keystore.WithOrderedAliases())
	for _, root := range roots {
		check(store.SetTrustedCertificateEntry(alias(root), keystore.TrustedCertificateEntry{
			CreationTime: root.NotBefore,
			Certificate:  keystore.Certificate{Type: "X509", Content: root.Raw},
		}))
	}
	var out bytes.Buffer
	check(store.Store(&out, []byte(password)))
	return out.Bytes()
}

func writePKCS12(roots []*x509.Certificate, profile *pkcs12.Encoder, password string) []byte {
	entries := make([]pkcs12.TrustStoreEntry, 0, len(roots))
	for _, root := range roots {
		entries = append(entries, pkcs12.TrustStoreEntry{Cert: root, FriendlyName: alias(root)})
	}
	out, err := profile.EncodeTrustStoreEntries(entries, password)
	check(err)
	return out
}
