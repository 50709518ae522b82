package read

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Client asks a server that speaks Loki's HTTP API: a weir or a Loki. The fields
// are set before it is used; then it may be used concurrently.
// https://grafana.com/docs/loki/latest/reference/loki-http-api/
type Client struct {
	HTTP   *http.Client
	Base   string // URL without a slash at the end
	Header http.Header
	User   *url.Userinfo
	Agent  string // User-Agent
	What   string // names the server in messages
	Page   int    // lines in one answer at most
	// Local says that it is a store of this host, of which everything is asked
	// for unless a range is given, and which knows matchers on every name.
	Local bool
	// Weir says that it is a weir, with more than Loki's API.
	Weir bool
	// Cluster says that the logs were read from the Kubernetes API.
	Cluster bool
	// Explain makes an error for people of a failure to reach the server; nil is
	// *UnreachableError.
	Explain func(error) error
	// Closed gives back what was opened for the client; it may be nil.
	Closed func() error
	// Damaged tells how many damaged places queries have met; it may be nil.
	Damaged func() int64

	streams streams
}

// Close gives back what the client holds.
func (c *Client) Close() error {
	c.HTTP.CloseIdleConnections()
	if c.Closed != nil {
		return c.Closed()
	}
	return nil
}

// UnreachableError says that a server did not answer.
type UnreachableError struct {
	What string
	Err  error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("%s cannot be reached: %v", e.What, e.Err)
}
func (e *UnreachableError) Unwrap() error { return e.Err }

// Answer is the envelope of all answers to queries.
type Answer struct {
	Status   string   `json:"status"`
	Warnings []string `json:"warnings"`
	Data     struct {
		ResultType string          `json:"resultType"`
		Result     json.RawMessage `json:"result"`
		Stats      struct {
			Summary struct {
				Bytes   int64   `json:"totalBytesProcessed"`
				Lines   int64   `json:"totalLinesProcessed"`
				Seconds float64 `json:"execTime"`
			} `json:"summary"`
		} `json:"stats"`
	} `json:"data"`
}

// Query asks a query endpoint.
func (c *Client) Query(ctx context.Context, path string, form url.Values) (*Answer, error) {
	resp, err := c.Do(ctx, path, form)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var a Answer
	body, err := readAnswer(resp.Body, resp.ContentLength)
	if err == nil {
		err = decodeAnswer(body, &a)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("the answer of %s cannot be read: %w", c.What, err)
	}
	return &a, nil
}

// ServerError is an answer with an error.
type ServerError struct {
	Status int
	Text   string // what the server says
}

func (e *ServerError) Error() string { return e.Text }

// Get asks an endpoint and decodes the answer, which is JSON. Errors: of ctx, of
// Explain, *ServerError.
func (c *Client) Get(ctx context.Context, path string, form url.Values, into any) error {
	resp, err := c.Do(ctx, path, form)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(into); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("the answer of %s cannot be read: %w", c.What, err)
	}
	return nil
}

// Do asks an endpoint. The answer's status is 200, and its body is the caller's
// to close. Errors are those of Get.
func (c *Client) Do(ctx context.Context, path string, form url.Values) (*http.Response, error) {
	return c.do(ctx, path, form, nil)
}

// do is Do with more headers.
func (c *Client) do(ctx context.Context, path string, form url.Values, more http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Base+path, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	c.sign(req.Header)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for k, v := range more {
		req.Header[k] = v
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, serverError(resp)
	}
	return resp, nil
}

// sign sets the headers that every request has.
func (c *Client) sign(h http.Header) {
	for k, v := range c.Header {
		h[k] = v
	}
	h.Set("X-Loki-Response-Encoding-Flags", "categorize-labels")
	h.Set("User-Agent", c.Agent)
	if c.User != nil {
		password, _ := c.User.Password()
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(c.User.Username()+":"+password)))
	}
}

func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if c.Explain != nil {
		return c.Explain(err)
	}
	if e := errors.Unwrap(err); e != nil {
		err = e
	}
	return &UnreachableError{c.What, err}
}

func serverError(resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, 8<<10))
	if err != nil || len(strings.TrimSpace(string(text))) == 0 {
		text = []byte(resp.Status)
	}
	return &ServerError{resp.StatusCode, strings.TrimSpace(string(text))}
}
