// The nanoservice @NAME@. `fragment` makes its HTML; the rest answers requests with Go's standard library.
package main

import (
	"crypto/sha256"
	"fmt"
	"html"
	"log"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"
)

var params = []string{@PARAMS@}

var valid = regexp.MustCompile("^[a-z0-9-]{1,40}$")

// fragment makes the HTML for the values of the parameters. Escape whatever is not your own text.
func fragment(values map[string]string) string {
	shown := ""
	for _, name := range params {
		shown += fmt.Sprintf(", %s = %s", name, html.EscapeString(values[name]))
	}
	return "<p>Hello from @NAME@" + shown + ".</p>"
}

func answer(w http.ResponseWriter, r *http.Request) {
	values := map[string]string{}
	for _, name := range params {
		values[name] = r.URL.Query().Get(name)
		if !valid.MatchString(values[name]) {
			http.Error(w, "", http.StatusBadRequest)
			return
		}
	}
	body := fragment(values)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "max-age=60")
	w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256([]byte(body))))
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(body)) // answers 304 by itself
}

func main() {
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), http.HandlerFunc(answer)))
}
