package main

// A queue is a doubly linked list of values that hold their own nodes, the oldest first. A node is in one queue
// at a time.
type queue[T any] struct {
	oldest, newest *node[T]
	len            int
}

// A node is the place of a value in a queue. The value holds it, so that pushing allocates nothing.
type node[T any] struct {
	older, newer *node[T]
	value        *T
}

// first returns the oldest value, or nil if the queue is empty.
func (q *queue[T]) first() *T {
	if q.oldest == nil {
		return nil
	}
	return q.oldest.value
}

// push appends a value, whose node is n.
func (q *queue[T]) push(n *node[T], value *T) {
	*n = node[T]{older: q.newest, value: value}
	if q.newest != nil {
		q.newest.newer = n
	} else {
		q.oldest = n
	}
	q.newest = n
	q.len++
}

func (q *queue[T]) remove(n *node[T]) {
	if n.newer != nil {
		n.newer.older = n.older
	} else {
		q.newest = n.older
	}
	if n.older != nil {
		n.older.newer = n.newer
	} else {
		q.oldest = n.newer
	}
	n.older, n.newer = nil, nil
	q.len--
}

// moveToEnd makes the value of the node the newest.
func (q *queue[T]) moveToEnd(n *node[T]) {
	if n != q.newest {
		q.remove(n)
		q.push(n, n.value)
	}
}
