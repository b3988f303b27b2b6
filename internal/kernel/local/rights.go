package local

import (
	"rumptools/internal/kernel"
	"rumptools/pkg/netbsd"
)

// A descriptor that travels in a message keeps its file open. Sockets that are
// nowhere but in each other's messages would so live for ever; as NetBSD's
// unp_gc, this collects them.

const (
	// maxRights is how many descriptors may be in messages: half as many
	// as there can be open files.
	maxRights = 32768
	// collectStep is the fewest descriptors passed between two collections.
	collectStep = 64
)

// takeFiles empties a packet of its files; d.mu is held.
func (d *Domain) takeFiles(p *packet) []*kernel.OpenFile {
	files := p.files
	p.files = nil
	d.rights -= len(files)
	return files
}

// takeAll is takeFiles for a queue that goes.
func (d *Domain) takeAll(queue []packet) (files []*kernel.OpenFile) {
	for i := range queue {
		files = append(files, d.takeFiles(&queue[i])...)
	}
	return files
}

// release drops files that nobody received. No lock is held: that may close
// other sockets.
func release(files []*kernel.OpenFile) {
	for _, of := range files {
		of.Release()
	}
}

// addRights counts n more descriptors in messages, for which there may have to
// be a collection first; d.mu is held. The files that it gives are to be released
// without the lock.
func (d *Domain) addRights(n int) (garbage []*kernel.OpenFile, err error) {
	if d.passed += n; d.passed > max(collectStep, d.alive) || d.rights+n > maxRights {
		garbage = d.collect()
		d.passed, d.alive = 0, d.rights
	}
	if d.rights+n > maxRights {
		return garbage, netbsd.EAGAIN
	}
	d.rights += n
	return garbage, nil
}

// collect takes the files out of the messages that nobody can receive any more;
// d.mu is held.
func (d *Domain) collect() (garbage []*kernel.OpenFile) {
	travelling := make(map[*kernel.OpenFile]int)
	waiting := make(map[*socket]bool) // to be accepted
	for s := range d.sockets {
		for i := range s.queue {
			for _, of := range s.queue[i].files {
				travelling[of]++
			}
		}
		for _, end := range s.accepts {
			waiting[end] = true
		}
	}
	doubtful := make(map[*socket]bool)
	for of, n := range travelling {
		// References outside of messages come from descriptors and calls
		// only: where there is none, there will be none but by receiving.
		if s, ok := of.File.(*socket); ok && of.Refs() == n {
			doubtful[s] = true
		}
	}
	reached := make(map[*socket]bool)
	var next []*socket
	reach := func(s *socket) {
		if !reached[s] {
			reached[s] = true
			next = append(next, s)
		}
	}
	for s := range d.sockets {
		if !doubtful[s] && !waiting[s] {
			reach(s)
		}
	}
	for len(next) > 0 {
		s := next[len(next)-1]
		next = next[:len(next)-1]
		for i := range s.queue {
			for _, of := range s.queue[i].files {
				if s, ok := of.File.(*socket); ok {
					reach(s)
				}
			}
		}
		for _, end := range s.accepts {
			reach(end)
		}
	}
	for s := range d.sockets {
		if !reached[s] {
			garbage = append(garbage, d.takeAll(s.queue)...)
		}
	}
	return garbage
}
