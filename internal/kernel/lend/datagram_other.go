//go:build !linux

package lend

import "errors"

// NewDatagramLoan fails.
func (*Pump) NewDatagramLoan(int, bool, func(func(Events)) (Datagrams, error), func(End, error), func()) (*Loan, error) {
	return nil, errors.ErrUnsupported
}

// NewLabelledLoan fails.
func (*Pump) NewLabelledLoan(int, func(func(Events)) (Datagrams, error), func(End, error), func()) (*Loan, error) {
	return nil, errors.ErrUnsupported
}

// TakeBack does nothing.
func (*Loan) TakeBack(bool) {}
