package plugin

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"component/windlass/windlass_plugin_http"
	. "component/windlass/windlass_plugin_types"
	"component/windlass/wit/types"
)

// excerptMax is how many characters of a refusal stand in the job's error.
const excerptMax = 200

// A client talks to the ERP.
type client struct {
	erp, token string
}

// An answer is a response of the ERP.
type answer struct {
	windlass_plugin_http.Response
}

// deliver sends the payload as it is. Without an error, the answer says that it was taken.
func (c client) deliver(path string, job Job) (answer, error) {
	sent := windlass_plugin_http.Send(windlass_plugin_http.Request{
		Method: "POST",
		Url:    c.erp + path,
		Headers: []windlass_plugin_http.Header{
			{Name: "content-type", Value: job.ContentType},
			{Name: "authorization", Value: "Bearer " + c.token},
			// The same over all attempts of a job, so that the ERP can recognise a repeat.
			{Name: "idempotency-key", Value: job.IdempotencyKey},
		},
		Body:      job.Payload,
		TimeoutMs: wit_types.None[uint32](),
	})
	if sent.IsErr() {
		return answer{}, errorOf(sent.Err())
	}
	taken := answer{sent.Ok()}
	if taken.Status < 200 || taken.Status > 299 {
		return answer{}, taken.refusal()
	}
	return taken, nil
}

// refusal says which answers are worth another attempt, and which are final.
func (a answer) refusal() error {
	code, message := fmt.Sprintf("http-%d", a.Status), fmt.Sprintf("the ERP answered %d", a.Status)
	delayMs := a.retryAfterMs()
	switch {
	case a.Status == 429, a.Status == 503 && delayMs.IsSome():
		return rateLimited(code, message, delayMs)
	case a.Status == 408, a.Status == 425, a.Status >= 500:
		return tryAgain(code, "%s", message)
	case len(a.Body) == 0:
		return reject(code, "%s", message)
	}
	// No character has more than four bytes. What is no UTF-8 becomes U+FFFD.
	said := []rune(string(a.Body[:min(len(a.Body), 4*excerptMax)]))
	return reject(code, "%s: %s", message, string(said[:min(len(said), excerptMax)]))
}

// retryAfterMs returns how long the ERP asks to be left alone, where it says so in whole seconds.
func (a answer) retryAfterMs() wit_types.Option[uint32] {
	secs, err := strconv.ParseUint(a.header("retry-after"), 10, 32)
	// A number that is out of range comes back as the largest there is, and so it is meant.
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return wit_types.None[uint32]()
	}
	return wit_types.Some(uint32(min(secs*1000, math.MaxUint32)))
}

func (a answer) contentType() string {
	if contentType := a.header("content-type"); contentType != "" {
		return contentType
	}
	return "application/octet-stream"
}

// header returns the first header of that name, or nothing. The host hands the names over in lower case.
func (a answer) header(name string) string {
	for _, header := range a.Headers {
		if header.Name == name {
			return header.Value
		}
	}
	return ""
}

// errorOf says what it means for the job that there is no answer.
func errorOf(err windlass_plugin_http.SendError) error {
	switch err.Tag() {
	case windlass_plugin_http.SendErrorDenied:
		return tryAgain("denied", "%s", err.Denied())
	case windlass_plugin_http.SendErrorUnreachable:
		return tryAgain("unreachable", "%s", err.Unreachable())
	case windlass_plugin_http.SendErrorUnanswered:
		// The ERP may have taken it. The host tries again with the same idempotency key.
		return unknownOutcome("unanswered", err.Unanswered())
	case windlass_plugin_http.SendErrorTooLarge:
		return reject("too-large", "%s", err.TooLarge())
	default:
		return reject("invalid-request", "%s", err.Invalid())
	}
}
