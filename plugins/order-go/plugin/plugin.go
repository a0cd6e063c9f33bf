// Package plugin delivers orders and documents to an ERP: one call of [Run] is one attempt of one job.
package plugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	config "component/windlass/windlass_plugin_config"
	log "component/windlass/windlass_plugin_log"
	. "component/windlass/windlass_plugin_types"
	"component/windlass/wit/types"
)

// Run handles one attempt. An error says what else becomes of the job than its completion. A panic fails this attempt
// alone, and its message and trace are kept with it.
func Run(job Job) wit_types.Result[Completion, Failure] {
	completion, err := run(job)
	if err != nil {
		return wit_types.Err[Completion](failureOf(err))
	}
	return wit_types.Ok[Completion, Failure](completion)
}

// Describe says what the host shows of the plugin, and what the plugin asks the operator for.
func Describe() string {
	return `{"title": "Order delivery", "description": "Delivers orders and documents to an ERP", "version": "0.1.0",
		"config": ["erp"], "secrets": ["token"]}`
}

func run(job Job) (Completion, error) {
	erp, err := granted("erp")
	if err != nil {
		return Completion{}, err
	}
	token, err := granted("token")
	if err != nil {
		return Completion{}, err
	}
	client := client{erp: erp, token: token}
	if mediaType, _, _ := strings.Cut(job.ContentType, ";"); strings.EqualFold(strings.TrimSpace(mediaType), "application/json") {
		return deliverOrder(client, job)
	}
	info("delivering a document of %d bytes, attempt %d", len(job.Payload), job.Attempt)
	answer, err := client.deliver("/documents", job)
	if err != nil {
		return Completion{}, err
	}
	return Completion{ContentType: answer.contentType(), Body: answer.Body}, nil
}

func deliverOrder(client client, job Job) (Completion, error) {
	order, err := textMember(job.Payload, "order")
	if err != nil {
		// A payload without an order never gets better.
		return Completion{}, reject("bad-order", "the payload is no order: %v", err)
	}
	info("delivering order %s, attempt %d", order, job.Attempt)
	answer, err := client.deliver("/orders", job)
	if err != nil {
		return Completion{}, err
	}
	number, err := textMember(answer.Body, "number")
	if err != nil {
		// The ERP promised a number. That it broke its word is nothing to handle, but something to be seen.
		panic(fmt.Sprintf("the ERP's answer names no number: %v", err))
	}
	info("the ERP took order %s as %s", order, number)
	return Completion{
		ContentType: answer.contentType(),
		Body:        answer.Body,
		Attributes:  []Attribute{{Name: "erp-number", Value: number}},
	}, nil
}

// granted returns the value that the operator granted under that name.
func granted(name string) (string, error) {
	value := config.Get(name)
	if value.IsNone() {
		// The operator can add it at any time, so the job is kept.
		return "", tryAgain("not-configured", "the value %q is not granted", name)
	}
	return value.Some(), nil
}

// textMember returns a text member of a JSON object.
func textMember(document []byte, name string) (string, error) {
	// JSON is UTF-8. Go's decoder would put U+FFFD in the place of what is not.
	if !utf8.Valid(document) {
		return "", errors.New("not UTF-8")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(document, &members); err != nil {
		return "", err
	}
	var text *string
	if err := json.Unmarshal(members[name], &text); err != nil || text == nil {
		return "", errors.New("no text member " + name)
	}
	return *text, nil
}

func info(format string, values ...any) {
	log.Log(log.LevelInfo, fmt.Sprintf(format, values...))
}
