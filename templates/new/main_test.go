package main

import (
	"strings"
	"testing"
)

// Run with `go test` in this folder.
func TestItIsHTML(t *testing.T) {
	values := map[string]string{}
	for _, name := range params {
		values[name] = "example"
	}
	if !strings.HasPrefix(fragment(values), "<p>") {
		t.Fatal(fragment(values))
	}
}
