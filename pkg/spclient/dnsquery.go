package spclient

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// queryType is the type of the records that a query asks for.
type queryType = dnsmessage.Type

const (
	typeA    = dnsmessage.TypeA
	typeAAAA = dnsmessage.TypeAAAA
	typePTR  = dnsmessage.TypePTR
)

const (
	// maxUDPAnswer is the longest answer that servers are told to send by UDP:
	// one that no network fragments.
	maxUDPAnswer = 1232
	// maxAliases is how many names in a row may be aliases of the next one.
	maxAliases = 16
)

// An answer is what a record says.
type answer struct {
	addr netip.Addr // of A and AAAA
	name string     // of PTR
}

// A dnsQuery is a query with what its answer must repeat.
type dnsQuery struct {
	id       uint16
	question dnsmessage.Question
	msg      []byte // with two bytes before it for the length, as TCP has it
}

// newQuery makes a query for a name, which need not end in a dot.
func newQuery(name string, t queryType, edns bool) (*dnsQuery, error) {
	if !strings.HasSuffix(name, ".") {
		name += "."
	}
	n, err := dnsmessage.NewName(name)
	if err != nil {
		return nil, errors.New(errBadName)
	}
	var id [2]byte
	rand.Read(id[:])
	q := &dnsQuery{
		id:       binary.BigEndian.Uint16(id[:]),
		question: dnsmessage.Question{Name: n, Type: t, Class: dnsmessage.ClassINET},
	}
	b := dnsmessage.NewBuilder(make([]byte, 2, 2+512), dnsmessage.Header{ID: q.id, RecursionDesired: true})
	if err := b.StartQuestions(); err != nil {
		return nil, err
	}
	if err := b.Question(q.question); err != nil {
		return nil, err
	}
	if edns {
		if err := b.StartAdditionals(); err != nil {
			return nil, err
		}
		var h dnsmessage.ResourceHeader
		if err := h.SetEDNS0(maxUDPAnswer, dnsmessage.RCodeSuccess, false); err != nil {
			return nil, err
		}
		if err := b.OPTResource(h, dnsmessage.OPTResource{}); err != nil {
			return nil, err
		}
	}
	if q.msg, err = b.Finish(); err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint16(q.msg, uint16(len(q.msg)-2))
	return q, nil
}

// exchange sends the query and reads until its answer has come.
func (q *dnsQuery) exchange(c net.Conn, tcp bool) (response, error) {
	if tcp {
		if _, err := c.Write(q.msg); err != nil {
			return response{}, err
		}
		var length [2]byte
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return response{}, noEOF(err)
		}
		buf := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(c, buf); err != nil {
			return response{}, noEOF(err)
		}
		resp, ok := q.parse(buf)
		if !ok {
			return response{}, errors.New("not an answer to the query")
		}
		return resp, nil
	}
	if _, err := c.Write(q.msg[2:]); err != nil {
		return response{}, err
	}
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return response{}, err
		}
		// Whatever else comes to the port may be somebody's who guesses.
		if resp, ok := q.parse(buf[:n]); ok {
			return resp, nil
		}
	}
}

// noEOF says in words that a server has closed the connection.
func noEOF(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errors.New("the server closed the connection")
	}
	return err
}

// A response is what an answer says.
type response struct {
	answers     []answer
	err         error // the server can't tell
	truncated   bool
	formatError bool
}

// parse reads an answer. It reports false for what is none to the query.
func (q *dnsQuery) parse(msg []byte) (resp response, ok bool) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil || !h.Response || h.ID != q.id || h.OpCode != 0 {
		return resp, false
	}
	questions, err := p.AllQuestions()
	if err != nil {
		return resp, false
	}
	if len(questions) == 0 && h.RCode == dnsmessage.RCodeFormatError {
		// A server that did not understand the query can't repeat it.
		resp.formatError = true
		resp.err = rcodeError(h.RCode)
		return resp, true
	}
	if len(questions) != 1 || questions[0].Type != q.question.Type || questions[0].Class != q.question.Class ||
		!sameName(questions[0].Name, q.question.Name) {
		return resp, false
	}
	if h.Truncated {
		resp.truncated = true
		return resp, true
	}
	switch h.RCode {
	case dnsmessage.RCodeSuccess:
	case dnsmessage.RCodeNameError:
		return resp, true
	default:
		resp.formatError = h.RCode == dnsmessage.RCodeFormatError
		resp.err = rcodeError(h.RCode)
		return resp, true
	}
	if resp.answers, err = q.collect(&p); err != nil {
		resp.err = fmt.Errorf("malformed answer: %w", err)
		return resp, true
	}
	if len(resp.answers) == 0 && !h.Authoritative && !h.RecursionAvailable {
		resp.err = errors.New("the server does not look names up for others")
	}
	return resp, true
}

// rcodeError says why a server gives no answer.
func rcodeError(c dnsmessage.RCode) error {
	switch c {
	case dnsmessage.RCodeFormatError:
		return errors.New("the server did not understand the query")
	case dnsmessage.RCodeServerFailure:
		return errors.New("server failure")
	case dnsmessage.RCodeNotImplemented:
		return errors.New("the server does not implement the query")
	case dnsmessage.RCodeRefused:
		return errors.New("the server refused the query")
	}
	return fmt.Errorf("the server's code is %d", c)
}

func sameName(a, b dnsmessage.Name) bool { return strings.EqualFold(a.String(), b.String()) }

// collect returns the records of the type that was asked for whose name is the one
// that was asked for, or one that this is an alias of.
func (q *dnsQuery) collect(p *dnsmessage.Parser) ([]answer, error) {
	type record struct {
		name dnsmessage.Name
		answer
	}
	var records []record
	aliases := make(map[string]dnsmessage.Name)
	for {
		h, err := p.AnswerHeader()
		if err == dnsmessage.ErrSectionDone {
			break
		}
		if err != nil {
			return nil, err
		}
		switch {
		case h.Class != dnsmessage.ClassINET:
			err = p.SkipAnswer()
		case h.Type == dnsmessage.TypeCNAME:
			var r dnsmessage.CNAMEResource
			r, err = p.CNAMEResource()
			aliases[strings.ToLower(h.Name.String())] = r.CNAME
		case h.Type != q.question.Type:
			err = p.SkipAnswer()
		case h.Type == typeA:
			var r dnsmessage.AResource
			r, err = p.AResource()
			records = append(records, record{h.Name, answer{addr: netip.AddrFrom4(r.A)}})
		case h.Type == typeAAAA:
			var r dnsmessage.AAAAResource
			r, err = p.AAAAResource()
			records = append(records, record{h.Name, answer{addr: netip.AddrFrom16(r.AAAA)}})
		case h.Type == typePTR:
			var r dnsmessage.PTRResource
			r, err = p.PTRResource()
			records = append(records, record{h.Name, answer{name: r.PTR.String()}})
		default:
			err = p.SkipAnswer()
		}
		if err != nil {
			return nil, err
		}
	}
	var out []answer
	name := q.question.Name
	for range maxAliases {
		for _, r := range records {
			if sameName(r.name, name) {
				out = append(out, r.answer)
			}
		}
		next, ok := aliases[strings.ToLower(name.String())]
		if len(out) > 0 || !ok {
			break
		}
		name = next
	}
	return out, nil
}
