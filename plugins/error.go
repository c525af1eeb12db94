package plugins

import "fmt"

// Code is an error code of the CNI specification, section "Error".
type Code uint

const (
	CodeIncompatibleVersion Code = 1
	CodeUnsupportedField    Code = 2
	CodeUnknownContainer    Code = 3
	CodeInvalidEnvironment  Code = 4
	CodeIO                  Code = 5
	CodeDecode              Code = 6
	CodeInvalidConfig       Code = 7
	CodeTryAgain            Code = 11
	CodeNotAvailable        Code = 50  // STATUS: cannot serve ADD
	CodeAttached            Code = 100 // ADD: what stands already has to be deleted first
	CodeInternal            Code = 999
)

// Error is an error with the code that a CNI caller is told. An error
// without one is reported as CodeInternal.
type Error struct {
	Code Code
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Errorf formats an error, as fmt.Errorf does, and gives it a code.
func Errorf(code Code, format string, args ...any) error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...)}
}
