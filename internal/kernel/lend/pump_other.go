//go:build !linux

package lend

import "errors"

// Pump is not on this host.
type Pump struct{}

// Loan is not on this host.
type Loan struct{}

// NewPump fails.
func NewPump() (*Pump, error) { return nil, errors.ErrUnsupported }

// Close does nothing.
func (*Pump) Close() {}

// NewLoan fails.
func (*Pump) NewLoan(int, bool, func(*Loan) (Stream, error), func(End, error), func()) (*Loan, error) {
	return nil, errors.ErrUnsupported
}

// Queued is nothing.
func (*Loan) Queued() (in, out int) { return 0, 0 }

// Notify does nothing.
func (*Loan) Notify(Events) {}

// Start does nothing.
func (*Loan) Start() {}

// Revoke does nothing.
func (*Loan) Revoke() {}
