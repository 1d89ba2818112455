// Command client asks each URL every 100 ms, over a new connection, and says how it went. Like any other program it
// trusts what Go finds when it starts; with -reload, it reads the file that SSL_CERT_FILE names before each connection.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"
)

func main() {
	reload := flag.Bool("reload", false, "read the trusted certificates before each connection")
	flag.Parse()
	for {
		for _, url := range flag.Args() {
			if err := ask(url, *reload); err != nil {
				fmt.Println(url, "failed:", err)
			} else {
				fmt.Println(url, "ok")
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func ask(url string, reload bool) error {
	// Without roots, Go takes those of the system.
	var roots *x509.CertPool
	if file := os.Getenv("SSL_CERT_FILE"); reload && file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		roots = x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
	}
	client := http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots}},
	}
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return nil
}
