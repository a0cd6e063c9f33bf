package plugin

import (
	"errors"
	"fmt"

	. "component/windlass/windlass_plugin_types"
	"component/windlass/wit/types"
)

// A failed error says what becomes of a job that is not completed.
type failed struct {
	failure Failure
	message string
}

func (f failed) Error() string { return f.message }

// tryAgain is for what another attempt can mend.
func tryAgain(code, format string, values ...any) error {
	message := fmt.Sprintf(format, values...)
	setback := Setback{Message: message, Code: some(code), DelayMs: wit_types.None[uint32]()}
	return failed{failure: MakeFailureTryAgain(setback), message: message}
}

// rateLimited is for a downstream that asks everybody to wait.
func rateLimited(code, message string, delayMs wit_types.Option[uint32]) error {
	setback := Setback{Message: message, Code: some(code), DelayMs: delayMs}
	return failed{failure: MakeFailureRateLimited(setback), message: message}
}

// unknownOutcome is for a request that left and was not answered.
func unknownOutcome(code, message string) error {
	return failed{failure: MakeFailureUnknownOutcome(Fault{Message: message, Code: some(code)}), message: message}
}

// reject is for what no attempt can mend.
func reject(code, format string, values ...any) error {
	message := fmt.Sprintf(format, values...)
	return failed{failure: MakeFailureReject(Fault{Message: message, Code: some(code)}), message: message}
}

// failureOf finds the failure in an error. Any other error is worth another attempt.
func failureOf(err error) Failure {
	var of failed
	if errors.As(err, &of) {
		return of.failure
	}
	return failureOf(tryAgain("unexpected", "%v", err))
}

func some(code string) wit_types.Option[string] { return wit_types.Some(code) }
