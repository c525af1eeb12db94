package nettest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

// HTTPClient makes its connections from inside the host, each anew, so that
// every request crosses the rules that are now in force.
func (h *Host) HTTPClient() *http.Client {
	return &http.Client{
		Timeout:   askTimeout,
		Transport: &http.Transport{DialContext: h.Dial, DisableKeepAlives: true},
	}
}

// ServeHTTP answers every request to address with an Answer as text, until
// the test ends, and returns the URL. Port 0 chooses one.
func (h *Host) ServeHTTP(address string) (url string) {
	h.t.Helper()
	l := h.Listen("tcp", address)
	answer := func(w http.ResponseWriter, r *http.Request) {
		from, err := parseAnswer(h.Name + " " + r.RemoteAddr)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, from)
	}
	server := &http.Server{Handler: http.HandlerFunc(answer), ReadHeaderTimeout: askTimeout}
	go server.Serve(l)
	h.t.Cleanup(func() { server.Close() })
	return "http://" + l.Addr().String() + "/"
}

// TryGet is the body of url as the host gets it. A status other than 200 is
// an error.
func (h *Host) TryGet(url string) (string, error) {
	req, err := http.NewRequestWithContext(h.context(), http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := h.HTTPClient().Do(req)
	if err != nil {
		return "", fmt.Errorf("get from %s: %w", h.Name, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("get %s from %s: %w", url, h.Name, err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("get %s from %s: %s: %s", url, h.Name, resp.Status, strings.TrimSpace(string(body)))
	}
	return string(body), nil
}

// Get is TryGet, but a request that fails ends the test.
func (h *Host) Get(url string) string {
	h.t.Helper()
	body, err := h.TryGet(url)
	if err != nil {
		h.t.Fatal(err)
	}
	return body
}
