package shmif

// queue holds frames that were taken from the ring but not received yet.
type queue struct {
	data [batchFrames * MaxFrame]byte
	ends [fillSteps]int // of the frames in data
	head int            // number of frames popped
	tail int            // number of frames pushed
}

func (q *queue) empty() bool { return q.head == q.tail }

func (q *queue) clear() { q.head, q.tail = 0, 0 }

// start gives where frame i begins.
func (q *queue) start(i int) int {
	if i == 0 {
		return 0
	}
	return q.ends[i-1]
}

// room gives space for one frame of MaxFrame bytes, or nil if the queue is full.
func (q *queue) room() []byte {
	if q.empty() {
		q.clear()
	}
	at := q.start(q.tail)
	if q.tail == len(q.ends) || at+MaxFrame > len(q.data) {
		return nil
	}
	return q.data[at : at+MaxFrame]
}

// push adds the first n bytes of what room gave.
func (q *queue) push(n int) {
	q.ends[q.tail] = q.start(q.tail) + n
	q.tail++
}

// pop gives the oldest frame, which stays valid until room is called.
func (q *queue) pop() []byte {
	f := q.data[q.start(q.head):q.ends[q.head]]
	q.head++
	return f
}
