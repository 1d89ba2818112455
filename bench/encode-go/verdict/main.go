// Verdict tells what Go's crypto/x509 makes of certificates.
//
// It reads one certificate per line, DER in hexadecimal digits, and answers each with one line: "refused" and the error,
// or "accepted", the subject in hexadecimal digits, start and end of validity in Unix seconds, and whether it is a CA.
package main

import (
	"bufio"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"log"
	"os"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	out := bufio.NewWriter(os.Stdout)
	for lines.Scan() {
		der, err := hex.DecodeString(lines.Text())
		if err != nil {
			log.Fatal(err)
		}
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			fmt.Fprintf(out, "refused\t%q\n", err)
			continue
		}
		fmt.Fprintf(out, "accepted\t%x\t%d\t%d\t%t\n", certificate.Subject.String(), certificate.NotBefore.Unix(), certificate.NotAfter.Unix(), certificate.IsCA)
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
	if err := out.Flush(); err != nil {
		log.Fatal(err)
	}
}
