//go:build linux

package netlink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"rumptools/internal/hijack/netview"
	"rumptools/pkg/netbsd"
	"rumptools/pkg/spclient"
)

// Groups are the multicast groups of rtnetlink in which there are events: bits
// of nl_groups, RTMGRP_*. Others may be joined, and are silent.
const Groups = unix.RTMGRP_LINK | unix.RTMGRP_NEIGH | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR |
	unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE

const (
	// settleTime is how long the kernel's messages are collected after the
	// first: what ifconfig(8) does to an interface makes a dozen.
	settleTime = 5 * time.Millisecond
	// maxCollected is how many of them are read before subscribers hear of
	// what they are about.
	maxCollected = 1000
	// retryTime is the time between attempts to watch a kernel that was
	// lost.
	retryTime = time.Second
	// lookTime is the time between looks at the neighbours and at the MTUs of
	// interfaces, of which kernels send no messages.
	lookTime = time.Second
)

// Watch gives put the events of the groups, RTMGRP_*, each a datagram for the
// program, until the context ends. It returns as soon as it watches: every
// change from then on will be told of. put is called by one goroutine at a
// time, must not wait nor use the server, and may be called once more just after the context's
// end.
//
// One routing socket of the kernel serves all who watch. Its messages say that
// something has changed; what has, is found by comparing lists, so that a
// change and lists that are asked for after it always agree. Of what is undone
// within a few milliseconds there may be no event. When a lost kernel is there
// again, there are events for all in which it differs from before.
func (s *Server) Watch(ctx context.Context, groups uint32, put func(msg []byte)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.events == nil {
		e, err := newEvents(ctx, s.kernel)
		if err != nil {
			return err
		}
		s.events = e
	}
	e := s.events
	sub := &subscriber{groups: groups & Groups, put: put}
	if err := e.add(ctx, sub); err != nil {
		s.stopIdle()
		return err
	}
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		e.remove(sub)
		if s.events == e {
			s.stopIdle()
		}
	})
	return nil
}

// stopIdle ends watching when nobody wants events any more; s.mu is held.
func (s *Server) stopIdle() {
	if s.events.idle() {
		s.events.cancel()
		s.events = nil
	}
}

// subscriber wants the events of some groups.
type subscriber struct {
	groups uint32
	put    func([]byte)
}

// events watches a kernel for subscribers.
type events struct {
	kernel netview.Kernel
	cancel context.CancelFunc

	mu     sync.Mutex
	subs   map[*subscriber]bool
	loaded uint32 // groups whose items are known
	items  map[itemKey]item
}

// itemKey says what is the same thing in two lists.
type itemKey struct {
	group uint32
	key   string
}

// item is an interface, an address, a route or a neighbour.
type item struct {
	// state is what must differ for an event, body what the event has.
	state, body []byte
}

// newEvents starts watching. The context is for what is done before it
// returns.
func newEvents(ctx context.Context, k netview.Kernel) (*events, error) {
	fd, err := openRouteSocket(ctx, k)
	if err != nil {
		return nil, err
	}
	e := &events{kernel: k, subs: map[*subscriber]bool{}, items: map[itemKey]item{}}
	ctx, e.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go e.run(ctx, fd)
	go e.look(ctx)
	return e, nil
}

func openRouteSocket(ctx context.Context, k netview.Kernel) (spclient.FD, error) {
	fd, err := k.Socket(ctx, netbsd.PF_ROUTE, netbsd.SOCK_RAW, 0)
	if err != nil {
		return fd, fmt.Errorf("routing socket: %w", err)
	}
	return fd, nil
}

// add makes somebody a subscriber, who learns of all changes from now on.
func (e *events) add(ctx context.Context, sub *subscriber) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if missing := sub.groups &^ e.loaded; missing != 0 {
		items, err := load(ctx, e.kernel, missing)
		if err != nil {
			return err
		}
		maps.Copy(e.items, items)
		e.loaded |= missing
	}
	e.subs[sub] = true
	return nil
}

func (e *events) remove(sub *subscriber) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.subs, sub)
}

func (e *events) idle() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.subs) == 0
}

// look looks now and then at what has no messages, as long as somebody wants
// events about it.
func (e *events) look(ctx context.Context) {
	tick := time.NewTicker(lookTime)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			// Errors are for who follows messages.
			_ = e.update(ctx, unix.RTMGRP_NEIGH|unix.RTMGRP_LINK)
		}
	}
}

// run watches until the context ends.
func (e *events) run(ctx context.Context, fd spclient.FD) {
	defer func() { _ = e.kernel.CloseFD(context.WithoutCancel(ctx), fd) }()
	for ctx.Err() == nil {
		err := e.follow(ctx, fd)
		if ctx.Err() != nil || errors.Is(err, spclient.ErrClosed) {
			return
		}
		// The kernel is lost, or does not answer as it should. A client that
		// connects again does so with the next call.
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(retryTime):
			}
			_ = e.kernel.CloseFD(ctx, fd)
			if fd, err = openRouteSocket(ctx, e.kernel); err == nil {
				break
			}
			if errors.Is(err, spclient.ErrClosed) {
				return
			}
		}
	}
}

// follow tells of changes as long as the routing socket works.
func (e *events) follow(ctx context.Context, fd spclient.FD) error {
	// What changed before the socket was there has no message.
	if err := e.update(ctx, Groups); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	for {
		n, _, err := e.kernel.RecvfromWait(ctx, fd, buf, 0)
		if err != nil {
			return err
		}
		changed := isChange(e.kernel.Machine(), buf[:n])
		if changed {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(settleTime):
			}
		}
		for range maxCollected {
			n, _, err := e.kernel.RecvfromWait(ctx, fd, buf, netbsd.MSG_DONTWAIT)
			if errors.Is(err, netbsd.EAGAIN) {
				break
			}
			if err != nil {
				return err
			}
			changed = changed || isChange(e.kernel.Machine(), buf[:n])
		}
		if changed {
			if err := e.update(ctx, Groups); err != nil {
				return err
			}
		}
	}
}

// isChange tells whether a message of a routing socket is about something that
// has changed. Look-ups are told to all sockets, too.
func isChange(m *netbsd.Machine, b []byte) bool {
	msg, _, err := netbsd.NextRtMessage(m, b)
	if err != nil {
		return true // better once too often
	}
	switch msg.Type {
	case netbsd.RTM_GET, netbsd.RTM_MISS, netbsd.RTM_LOSING, netbsd.RTM_LOCK:
		return false
	}
	return true
}

// update takes new lists of those of some groups that are wanted, and tells
// subscribers in what they differ.
func (e *events) update(ctx context.Context, groups uint32) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	groups &= e.loaded
	// What nobody wants any more need not be known.
	var wanted uint32
	for sub := range e.subs {
		wanted |= sub.groups
	}
	e.loaded &= wanted
	for k := range e.items {
		if k.group&wanted == 0 {
			delete(e.items, k)
		}
	}
	if groups &= wanted; groups == 0 {
		return nil
	}
	items, err := load(ctx, e.kernel, groups)
	if err != nil {
		return err
	}
	// What is gone goes in the order in which it could not stay, what is
	// new comes in the order in which it can be.
	for i := len(kinds) - 1; i >= 0; i-- {
		kind := &kinds[i]
		if kind.group&groups == 0 {
			continue
		}
		for _, k := range keysOf(e.items, kind.group) {
			if _, ok := items[k]; !ok {
				e.publish(kind.group, kind.del, kind.gone(e.items[k].body))
			}
		}
	}
	for i := range kinds {
		kind := &kinds[i]
		for _, k := range keysOf(items, kind.group) {
			old, v := e.items[k], items[k]
			if !bytes.Equal(old.state, v.state) {
				e.publish(kind.group, kind.new, kind.changed(old.body, v.body))
			}
		}
	}
	for k := range e.items {
		if k.group&groups != 0 {
			delete(e.items, k)
		}
	}
	maps.Copy(e.items, items)
	return nil
}

// keysOf are the keys of a group, sorted: events have an order that does not
// change.
func keysOf(items map[itemKey]item, group uint32) []itemKey {
	var keys []itemKey
	for k := range items {
		if k.group == group {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b itemKey) int { return strings.Compare(a.key, b.key) })
	return keys
}

func (e *events) publish(group uint32, typ uint16, body []byte) {
	for sub := range e.subs {
		if sub.groups&group != 0 {
			sub.put(appendMessage(nil, header{typ: typ}, body))
		}
	}
}

// kind is a kind of items.
type kind struct {
	group    uint32
	new, del uint16
	// gone and changed are the bodies of events, by those of lists; there
	// is no old one of what is new.
	gone    func(body []byte) []byte
	changed func(old, body []byte) []byte
}

func asIs(body []byte) []byte         { return body }
func asItIsNow(_, body []byte) []byte { return body }
func linkGone(body []byte) []byte     { return linkChange(body, ^uint32(0)) }
func linkFlags(body []byte) uint32    { return native.Uint32(body[8:]) }
func linkChanged(old, b []byte) []byte {
	if old == nil {
		return linkChange(b, ^uint32(0))
	}
	return linkChange(b, linkFlags(old)^linkFlags(b))
}

// linkChange sets ifi_change, which flags have changed.
func linkChange(body []byte, flags uint32) []byte {
	body = bytes.Clone(body)
	native.PutUint32(body[12:], flags)
	return body
}

// kinds are in the order in which things can come to be.
var kinds = []kind{
	{unix.RTMGRP_LINK, unix.RTM_NEWLINK, unix.RTM_DELLINK, linkGone, linkChanged},
	{unix.RTMGRP_IPV4_IFADDR, unix.RTM_NEWADDR, unix.RTM_DELADDR, asIs, asItIsNow},
	{unix.RTMGRP_IPV6_IFADDR, unix.RTM_NEWADDR, unix.RTM_DELADDR, asIs, asItIsNow},
	{unix.RTMGRP_IPV4_ROUTE, unix.RTM_NEWROUTE, unix.RTM_DELROUTE, asIs, asItIsNow},
	{unix.RTMGRP_IPV6_ROUTE, unix.RTM_NEWROUTE, unix.RTM_DELROUTE, asIs, asItIsNow},
	{unix.RTMGRP_NEIGH, unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH, asIs, asItIsNow},
}

// load takes the lists of some groups.
func load(ctx context.Context, k netview.Kernel, groups uint32) (map[itemKey]item, error) {
	items := map[itemKey]item{}
	if groups&unix.RTMGRP_LINK != 0 {
		links, err := netview.Links(ctx, k)
		if err != nil {
			return nil, err
		}
		for i := range links {
			l := &links[i]
			items[itemKey{unix.RTMGRP_LINK, fmt.Sprint(l.Index)}] = item{linkBody(l, false), linkBody(l, true)}
		}
	}
	for _, f := range []struct {
		group  uint32
		family uint8
	}{{unix.RTMGRP_IPV4_IFADDR, unix.AF_INET}, {unix.RTMGRP_IPV6_IFADDR, unix.AF_INET6}} {
		if groups&f.group == 0 {
			continue
		}
		addrs, err := netview.Addrs(ctx, k, f.family)
		if err != nil {
			return nil, err
		}
		for i := range addrs {
			a := &addrs[i]
			items[itemKey{f.group, fmt.Sprint(a.Index, a.Prefix)}] = item{addrBody(a, false), addrBody(a, true)}
		}
	}
	for _, f := range []struct {
		group  uint32
		family uint8
	}{{unix.RTMGRP_IPV4_ROUTE, unix.AF_INET}, {unix.RTMGRP_IPV6_ROUTE, unix.AF_INET6}} {
		if groups&f.group == 0 {
			continue
		}
		routes, err := netview.Routes(ctx, k, f.family)
		if err != nil {
			return nil, err
		}
		for i := range routes {
			r := &routes[i]
			body := routeBody(r)
			items[itemKey{f.group, fmt.Sprint(r.Table, r.Type, r.Dst, r.Index, r.Gateway, r.Metric)}] = item{body, body}
		}
	}
	if groups&unix.RTMGRP_NEIGH != 0 {
		list, err := netview.Neighbours(ctx, k, unix.AF_UNSPEC)
		if err != nil {
			return nil, err
		}
		for i := range list {
			n := &list[i]
			body := neighBody(n)
			items[itemKey{unix.RTMGRP_NEIGH, fmt.Sprint(n.Index, n.IP)}] = item{body, body}
		}
	}
	return items, nil
}
